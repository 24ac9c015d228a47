"""Uploads of fal's API: an address for the file first, then the file itself."""

from __future__ import annotations

import re
from datetime import timedelta

from aiohttp import web

from orchestrator.errors import NotAuthenticated
from orchestrator.intake.uploaded_files import UploadedFiles, new_file_id, safe_name
from orchestrator.store import ApiKeyScope
from orchestrator.url_codes import UrlCodes
from orchestrator.web.dialects.fal.routes import authenticate_fal
from orchestrator.web.dialects.fal.schemas import JsonWebKeys, UploadBody, UploadResponse
from orchestrator.web.dialects.fal.signatures import FalWebhookSigner
from orchestrator.web.http.bodies import allow_large_body, read_body
from orchestrator.web.http.public_url import public_base_url
from orchestrator.web.http.request_model import read_request_model
from orchestrator.web.http.response_model import json_response
from orchestrator.web.openapi.operation import Access, ParameterSpec, openapi_operation

#: How long an upload address works.
UPLOAD_LIFETIME = timedelta(hours=1)
_UPLOAD = "/fal/storage/upload"
_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+", re.ASCII)
STORAGE_TYPE = {"storage_type": ParameterSpec({"type": "string"}, "Any; there is one storage.")}


class FalStorageRoutes:
    """Files for inputs, and the key that verifies webhooks."""

    def __init__(
        self, files: UploadedFiles, codes: UrlCodes, signer: FalWebhookSigner, public_url: str | None
    ) -> None:
        """`codes` are those of upload addresses."""
        self._files = files
        self._codes = codes
        self._signer = signer
        self._public_url = public_url

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post(f"{_UPLOAD}/initiate", self.initiate),
            web.put(f"{_UPLOAD}/{{account}}/{{id}}/{{expires}}/{{code}}/{{name}}", self.upload),
            web.get("/fal/.well-known/jwks.json", self.get_keys),
        ]

    @openapi_operation(
        body=UploadBody, response=UploadResponse, query=STORAGE_TYPE, access=Access.FAL, tag="fal"
    )
    async def initiate(self, request: web.Request) -> web.Response:
        """Create an address to upload a file to.

        Send the file to `upload_url` by PUT, with its content type; then use `file_url` as an input.
        """
        key = await authenticate_fal(request, ApiKeyScope.GENERATE)
        body = await read_request_model(request, UploadBody)
        account, id, name = key.account.id, new_file_id(), safe_name(body.file_name)
        end = str(int((self._files.clock() + UPLOAD_LIFETIME).timestamp()))
        code = self._codes.code(account, id, end, name)
        base = public_base_url(request, self._public_url)
        return json_response(
            UploadResponse(
                upload_url=f"{base}{_UPLOAD}/{account}/{id}/{end}/{code}/{name}",
                file_url=base + self._files.path_of(account, id, name),
            )
        )

    @openapi_operation(
        access=Access.NONE, response_description="The file is stored.", content_types=(), tag="fal"
    )
    async def upload(self, request: web.Request) -> web.Response:
        """Send the file of an upload address.

        The body is the file. The address needs no key and works for an hour.
        """
        path = request.match_info
        parts = (path["account"], path["id"], path["expires"], path["name"])
        is_valid = path["expires"].isascii() and path["expires"].isdigit() and len(path["expires"]) < 12
        if not is_valid or not self._codes.is_valid(path["code"], *parts):
            raise NotAuthenticated("The upload address is wrong", code="invalid_signature")
        if int(path["expires"]) <= self._files.clock().timestamp():
            raise NotAuthenticated("The upload address has expired", code="stale_signature")
        allow_large_body(request)
        given = request.headers.get("Content-Type", "").partition(";")[0].strip()
        await self._files.add(
            path["account"],
            await read_body(request),
            name=path["name"],
            content_type=given if _TYPE.fullmatch(given) else "",
            file_id=path["id"],
        )
        return web.Response()

    @openapi_operation(response=JsonWebKeys, access=Access.NONE, tag="fal")
    async def get_keys(self, request: web.Request) -> web.Response:
        """Get the public key that verifies webhooks.

        A webhook is signed by Ed25519: `X-Fal-Webhook-Signature` is the signature, in hexadecimal digits, of
        request id, user id, timestamp and SHA-256 of the body, one a line.
        """
        return json_response(JsonWebKeys(keys=self._signer.public_keys()))
