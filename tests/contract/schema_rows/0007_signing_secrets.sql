-- A rotated secret that is about to end, and its successor.
INSERT INTO signing_secrets (account_id, secret, ends_at) VALUES
    ('acct_ada', 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw', '2026-01-18T00:00:00.000000+00:00'),
    ('acct_ada', 'whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD', NULL),
    ('acct_bob', 'whsec_YmFzZTY0IG9mIGJvYidzIHNlY3JldCEh', NULL);
