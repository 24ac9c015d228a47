"""All error codes of the API and what they mean, shown by `/docs`, `/openapi.json` and `/llms.txt`.

Codes with an asterisk stand for one code per field: `invalid_*` is `invalid_size`, `invalid_prompt` and so
on.
"""

from __future__ import annotations

from collections.abc import Mapping

ERROR_CODES: Mapping[str, str] = {
    # Requests (400)
    "invalid_*": "The field or parameter is not valid; `message` states what is allowed.",
    "missing_*": "The required field is missing.",
    "invalid_value": "A value of the request is not valid.",
    "invalid_json": "The request body is not a valid JSON object.",
    "invalid_body": "The request body could not be read.",
    "invalid_unicode": "A text contains characters that are not valid Unicode.",
    "payload_too_large": "The request body is larger than allowed.",
    "content_policy_violation": "The request or its result violates the content policy.",
    "model_not_found": "The model does not exist; `GET /v1/models` lists all models.",
    "too_many_images": "The model accepts fewer input images.",
    "too_many_alerts": "The account has the maximum number of budget alerts.",
    "too_many_keys": "The account has the maximum number of API keys.",
    "unsupported_background": "The background can not be combined with the output format.",
    "unsupported_image": "No model accepts this number of input images.",
    "unsupported_input_reference": "The model does not accept an input image.",
    "unsupported_lora": "The model does not accept LoRAs.",
    "unknown_lora": "No LoRA of the account or of the operator has this name, job or URL.",
    "duplicate_lora": "Two entries of the list are the same LoRA.",
    "lora_mismatch": "The LoRA was trained for another architecture than that of the model.",
    "lora_not_ready": "The job that trains the LoRA has not finished.",
    "lora_expired": "The LoRA has expired, and its file is deleted.",
    "lora_deleted": "The LoRA was deleted while the request was accepted.",
    "unsupported_markup": "The prompt contains markup that is not supported.",
    "unsupported_mask": "The model does not accept a mask.",
    "unsupported_model": "The model can not do what the request asks for.",
    "unsupported_operation": "The operation is not supported.",
    "unsupported_*": "The model or the service does not support the field.",
    "no_webhook": "The job has no webhook, or is not finished.",
    "not_charged": "The job was not charged, so it can not be refunded.",
    # Authentication and permissions (401, 403)
    "missing_api_key": "The request has no API key.",
    "invalid_api_key": "The API key is unknown, revoked or expired.",
    "invalid_admin_token": "The admin token is missing or wrong.",
    "missing_credential": "The sign-in form was sent without a key.",
    "not_signed_in": "The dashboard session is missing or has ended.",
    "invalid_signature": "The signature of a payment event is wrong.",
    "stale_signature": "The signature of a payment event is too old.",
    "forbidden": "The operation is not allowed.",
    "insufficient_scope": "The API key lacks the scope that the operation needs.",
    "limited_key": "Only an API key without limits may change keys.",
    "model_not_allowed": "The API key may not use the model.",
    "model_not_yours": "Models can not be deleted through the API.",
    "needs_admin_token": "The page needs the admin token.",
    "needs_api_key": "The page needs an API key, not the admin token.",
    "wrong_origin": "The request comes from a page of another origin.",
    "origin_not_allowed": "Pages of this origin may not call the API; the operator decides which may.",
    # Money (402)
    "insufficient_balance": "The balance does not cover the price.",
    "key_spend_cap": "The API key has reached its spend cap.",
    # Resources (404, 405, 409, 410)
    "not_found": "The resource does not exist.",
    "unknown_url": "No operation has this path.",
    "instance_not_found": "The instance does not exist.",
    "lora_not_found": "The LoRA does not exist, or belongs to another account.",
    "job_not_found": "The job does not exist, or belongs to another account.",
    "message_not_found": "The webhook message does not exist, or belongs to another account.",
    "output_not_found": "The job has no output with this number.",
    "output_expired": "The output has expired and is deleted.",
    "request_not_found": "The request does not exist, or belongs to another account.",
    "video_not_found": "The video does not exist, or belongs to another account.",
    "video_not_ready": "The video is not finished, or has failed.",
    "method_not_allowed": "The path does not support the method; the header `Allow` lists those that it "
    "does.",
    "conflict": "The request contradicts the present state.",
    "idempotency_conflict": "The idempotency key was used before for a different request.",
    "key_revoked": "The API key is revoked already.",
    "not_possible": "The instance can not do this in its present state.",
    "expired": "The job has expired, or no instance could start it in time.",
    "input_expired": "The input images of the job have expired and are deleted.",
    "video_expired": "The video has expired and is deleted.",
    "job_deleted": "The job was deleted while its file was being converted.",
    # How the request is sent (400, 408, 415, 503)
    "invalid_http": "The request is not valid HTTP.",
    "request_timeout": "The header or the body of the request did not arrive in time; send it again.",
    "too_many_connections": "There are too many connections, in total or from the client address.",
    "unsupported_encoding": "The body is compressed in a way that is not accepted; see `Accept-Encoding`.",
    "unsupported_media_type": "The body is sent in a form that is not accepted.",
    # Limits and availability (429, 503)
    "rate_limit_exceeded": "The account has exceeded its requests per minute.",
    "too_many_waiting": "Too many requests of the account wait for a download; retry after `Retry-After`.",
    "unknown_parameter": "The model has no parameter of this name; the message lists those that it has.",
    "conflicting_fields": "Two fields of the request ask for different things; send one of them.",
    "too_many_streams": "The account has the maximum number of open event streams; close one.",
    "too_many_failures": "The client address has sent too many invalid API keys.",
    "service_unavailable": "The service is not available at present.",
    "busy": "The queue is too long; retry later.",
    "model_unavailable": "No instance can run the model at present.",
    "moderation_unavailable": "The moderation service does not answer; retry later.",
    "no_instances": "No instance is ready at present.",
    "no_scheduler": "The process that runs the jobs cannot be reached at present; retry in a few seconds.",
    "shutting_down": "The service is shutting down; retry later.",
    # Failed jobs (500, or `error.code` of the job)
    "internal_error": "Internal server error; quote the `X-Request-Id`.",
    "generation_failed": "The generation failed.",
    "cancelled": "The job was cancelled.",
    "bad_graph": "The instance rejected the model's graph.",
    "out_of_memory": "The request needs more GPU memory than there is.",
    "quarantined": "Instances ended while they ran the request, so it is not run again; change the request.",
    "instance_gone": "The instances that ran the request became unreachable.",
    "node_failed": "A step of the model failed.",
    "refused": "The result violates the content policy.",
    "unsupported_output_format": "The result does not fit the requested `output_format`; use webp or png.",
    "no_output": "The model produced no usable output.",
    "stalled": "The run made no progress.",
    "lora_unavailable": "The file of a LoRA no longer exists, or is too large for the instance.",
    "superseded": "The model was replaced by a new version before the job could run.",
    "store_unavailable": "Object storage or the database is unavailable; retry later.",
    "abandoned": "The run was lost with its instance.",
    "internal": "The service failed to run the job.",
}


def is_documented(code: str) -> bool:
    """Return whether the table has an entry for `code`, itself or as one of its field's codes."""
    prefix = code.partition("_")[0]
    return code in ERROR_CODES or f"{prefix}_*" in ERROR_CODES
