-- A LoRA, whose training has expired already.
INSERT INTO loras (job_id, account_id, name, base, trigger_word, model, key, size, sha256, created_at) VALUES
    ('job_metered', 'acct_ada', 'sks', 'sd15', 'a sks fox', 'sd-1.5-lora-trainer', 'loras/ll/lora.safetensors', 7, 'aa21',
        '2026-01-29T00:00:00.000000+00:00');
