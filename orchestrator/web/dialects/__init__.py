"""The APIs that the service speaks, one package per API document.

Each package has `schemas` (response bodies), `translation` (from a request body to a GenerationRequest, from
a job to a response body), `errors` (from a ServiceError to an error body) and `routes`. Translations are
pure; only routes call the service. `error_responses` decides by path which dialect reports an error, so that
unknown paths are reported in the right format too.
"""
