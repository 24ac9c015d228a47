"""Compares what callers were told with the database, the bucket, the ledger and the webhooks."""

from __future__ import annotations

import asyncio
import io
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from minio import Minio
from PIL import Image

from scripts.bench.campaign.observations import Observation, Outcome
from scripts.bench.campaign.operations import READS, SUBMISSIONS
from scripts.bench.campaign.rig import Rig

_UNFINISHED = ("queued", "running")
_URL_CHECKS = 16
#: Lines of the service's log that a campaign may not cause.
_BAD_LOG_LINES = ("Traceback (most recent call last)", "never retrieved", "never awaited")


@dataclass(frozen=True)
class Violation:
    rule: str
    subject: str
    detail: str = ""


@dataclass
class StoredJob:
    id: str
    account_id: str
    status: str
    price: int
    idempotency_key: str | None
    prompt: str
    error_code: str | None
    webhook_url: str | None
    removed: bool
    entries: Counter[str] = field(default_factory=Counter)


class Auditor:
    """Reads everything after a campaign has come to rest; `audit` returns all violations."""

    def __init__(self, rig: Rig, observations: Sequence[Observation]) -> None:
        self._rig, self._seen = rig, observations
        self._violations: list[Violation] = []
        self._jobs: dict[str, StoredJob] = {}
        #: Charged jobs whose id their caller was not told, and which it must find in its list.
        self._collectable: list[StoredJob] = []
        #: Responses that arrived although their charges were refunded.
        self._sent_and_refunded = 0

    async def audit(self) -> list[Violation]:
        self._read_jobs()
        self._check_callers()
        self._check_money()
        await self._check_outputs()
        self._check_bucket()
        self._check_webhooks()
        await self._check_rest()
        self._check_log()
        return self._violations

    def _fail(self, rule: str, subject: object, detail: object = "") -> None:
        self._violations.append(Violation(rule, str(subject), str(detail)[:200]))

    def _read_jobs(self) -> None:
        for row in self._rig.query("SELECT * FROM jobs"):
            self._jobs[row["id"]] = StoredJob(
                *(row["id"], row["account_id"], row["status"], row["price"], row["idempotency_key"]),
                prompt=str(json.loads(row["params"]).get("prompt", "")),
                error_code=row["error_code"],
                webhook_url=row["webhook_url"],
                removed=row["removed_at"] is not None,
            )
        for row in self._rig.query("SELECT job_id, kind, micros FROM entries WHERE job_id IS NOT NULL"):
            self._jobs[row["job_id"]].entries[row["kind"]] += row["micros"]

    def _check_callers(self) -> None:
        by_key = {job.idempotency_key: job for job in self._jobs.values() if job.idempotency_key}
        by_prompt = defaultdict(list)
        for job in self._jobs.values():
            by_prompt[job.prompt].append(job)
        for seen in self._seen:
            if seen.kind in READS:
                if seen.outcome is Outcome.STUCK:
                    self._fail("an operation has no end", seen.number, f"{seen.kind} {seen.detail}")
                continue
            jobs = by_prompt.get(f"operation {seen.number}", [])
            if seen.idempotency_key:
                jobs = [by_key[seen.idempotency_key]] if seen.idempotency_key in by_key else []
            self._check_caller(seen, jobs)
        # A crash may come between a response and the note that it was sent, once per start of the service.
        if self._sent_and_refunded > self._rig.starts:
            self._fail("a completed request is charged once", self._sent_and_refunded, "were refunded")

    def _check_caller(self, seen: Observation, jobs: list[StoredJob]) -> None:
        told = f"{seen.kind} was told {seen.outcome} {seen.detail}"
        # Success is charged; `_check_money` compares the capture with the price, which may be 0.
        charged = [job for job in jobs if job.status == "succeeded" and not job.entries["refund"]]
        if seen.outcome is Outcome.STUCK:
            self._fail("an operation has no end", seen.number, told)
        elif seen.outcome is Outcome.COMPLETED:
            refunded = [job for job in jobs if job.status == "succeeded" and job.entries["refund"]]
            if not charged and len(refunded) == 1 and seen.idempotency_key is None:
                self._sent_and_refunded += 1
            elif len(charged) != 1:
                self._fail("a completed request is charged once", seen.number, f"{len(charged)}: {told}")
            made = len(seen.urls) + seen.inline_images
            if seen.expected_images and seen.kind != "openai_video" and made != seen.expected_images:
                self._fail("all images are delivered", seen.number, f"{made}: {told}")
        elif seen.outcome is Outcome.LOST and seen.kind in SUBMISSIONS:
            self._collectable += charged
        elif seen.outcome is not Outcome.LEFT and any(job.price for job in charged):
            ids = ", ".join(job.id for job in charged)
            self._fail("what was not delivered is not charged", seen.number, f"{told}: {ids}")
        if len(charged) > 1:
            self._fail("one request is charged once", seen.number, f"{len(charged)} captures: {told}")
        if seen.job_id and seen.job_id not in self._jobs:
            self._fail("an accepted job is stored", seen.number, told)

    def _check_money(self) -> None:
        for job in self._jobs.values():
            held, captured = job.entries["hold"], job.entries["capture"]
            if job.status in _UNFINISHED:
                self._fail("every job ends", job.id, job.status)
            elif held != captured + job.entries["release"]:
                self._fail("a hold is captured or released", job.id, dict(job.entries))
            elif captured != (job.price if job.status == "succeeded" else 0):
                self._fail("only success is captured, at its price", job.id, f"{job.status} {captured}")
        totals: Counter[str] = Counter()
        for row in self._rig.query("SELECT source, target, micros FROM entries"):
            totals[row["target"]] += row["micros"]
            totals[row["source"]] -= row["micros"]
        for row in self._rig.query("SELECT account, micros FROM balances"):
            if totals[row["account"]] != row["micros"]:
                self._fail("a balance is the sum of its entries", row["account"], row["micros"])
        open_attempts = self._rig.query("SELECT prompt_id FROM attempts WHERE ended_at IS NULL")
        for row in open_attempts:
            self._fail("every attempt ends", row["prompt_id"])

    async def _check_outputs(self) -> None:
        """Every URL that a caller was given shows its image, unless the caller deleted it."""
        limit = asyncio.Semaphore(_URL_CHECKS)
        async with self._rig.client() as http:

            async def check(seen: Observation, url: str) -> None:
                async with limit, http.get(url) as response:
                    body = await response.read()
                if seen.deleted:
                    if response.status == 200:
                        self._fail("a deleted output is gone", seen.number, url)
                elif response.status != 200:
                    self._fail("a delivered URL works", seen.number, f"{response.status} {seen.kind}")
                elif not _is_media(body):
                    self._fail("a delivered URL shows its result", seen.number, f"{len(body)} bytes")

            await asyncio.gather(*(check(seen, url) for seen in self._seen for url in seen.urls))
            for job in self._collectable:
                await self._check_collectable(http, job)

    async def _check_collectable(self, http: aiohttp.ClientSession, job: StoredJob) -> None:
        """Find a job in the list of its account, and fetch its results."""
        (key,) = (account.key for account in self._rig.accounts if account.id == job.account_id)
        headers, query = {"Authorization": f"Bearer {key}"}, {"limit": "100"}
        view: dict[str, Any] = {}
        while not view:
            async with http.get("/api/v1/jobs", headers=headers, params=query) as response:
                page = await response.json()
            view = next((found for found in page["jobs"] if found["jobId"] == job.id), {})
            if not page["nextCursor"]:
                break
            query["cursor"] = page["nextCursor"]
        groups = (view.get("output") or {}).values()
        urls = [url for group in groups if isinstance(group, list) for url in group]
        if not urls:
            self._fail("a charged job can be collected", job.id, "not in the list of its account")
        for url in urls:
            async with http.get(url) as response:
                if response.status != 200:
                    self._fail("a charged job can be collected", job.id, response.status)

    def _check_bucket(self) -> None:
        """The bucket holds what the database names, and nothing else.

        While the bucket is listed, the service may remove results that were not collected: an object must be
        stored if it is named before and after, and may be if it is named at one of these times.
        """
        before = self._named_objects()
        bucket = self._rig.s3_config().bucket
        stored = {entry.object_name for entry in self._client().list_objects(bucket, recursive=True)}
        after = self._named_objects()
        for key in sorted((before & after) - stored):
            self._fail("a named object is stored", key)
        for key in sorted(key for key in stored - before - after if key.startswith("outputs/")):
            self._fail("a stored object is named", key)

    def _named_objects(self) -> set[str]:
        return {row["key"] for row in self._rig.query("SELECT DISTINCT key FROM output_files")}

    def _client(self) -> Minio:
        config = self._rig.s3_config()
        address = config.endpoint.partition("//")[2]
        return Minio(address, access_key=config.access_key, secret_key=config.secret_key, secure=False)

    def _check_webhooks(self) -> None:
        receiver = self._rig.receiver
        if receiver.wrongly_signed:
            self._fail("every message is signed", receiver.wrongly_signed)
        for job in self._jobs.values():
            messages = receiver.messages.get(job.id, set())
            if job.webhook_url and not job.removed and len({id for id, _ in messages}) != 1:
                self._fail("a finished job is reported once", job.id, sorted(messages))

    async def _check_rest(self) -> None:
        """Nothing runs or waits any more, and the fleet is ready."""
        for end in self._rig.unexpected_ends:
            self._fail("a process ends only if it is ended", end)
        rows = (await self._rig.admin("/admin/v1/instances"))["instances"]
        for row in rows:
            if row["state"] != "ready":
                self._fail("the fleet is ready again", row["id"], row["state"])
            async with aiohttp.ClientSession() as http, http.get(f"{row['url']}/queue") as response:
                queue: dict[str, Any] = await response.json()
            if queue["queue_running"] or queue["queue_pending"]:
                self._fail("no prompt is left on an instance", row["id"], _prompt_ids(queue))
        found = await self._rig.admin("/admin/v1/audit")
        for row in found if isinstance(found, list) else found.get("findings", found.get("violations", [])):
            self._fail("the service's own audit finds nothing", row)

    def _check_log(self) -> None:
        secrets = [self._rig.admin_token, *(account.key for account in self._rig.accounts)]
        secrets += self._rig.receiver.secrets.values()
        counts: Counter[str] = Counter()
        lines = self._rig.read_log().splitlines()
        for number, line in enumerate(lines):
            if any(secret in line for secret in secrets):
                self._fail("no secret is logged", line[:60])
            if re.search(r"\boperation \d+\b", line):
                self._fail("no prompt is logged", line)
            if any(bad in line for bad in _BAD_LOG_LINES):
                context = lines[max(number - 1, 0) : number + 30]
                counts[" / ".join(text.strip(" |") for text in context if " File " not in text)[:2000]] += 1
        for bad, count in counts.items():
            self._violations.append(Violation("the log has no unhandled error", f"{count} times", bad))


def _is_media(body: bytes) -> bool:
    """Whether the bytes are a complete image, or begin as an MP4 file does."""
    if body[4:8] == b"ftyp":
        return True
    try:
        with Image.open(io.BytesIO(body)) as image:
            image.load()
    except (OSError, ValueError, SyntaxError):
        return False
    return True


def _prompt_ids(queue: dict[str, Any]) -> list[str]:
    return [str(item[1]) for item in (*queue["queue_running"], *queue["queue_pending"])]


def summarise(violations: Iterable[Violation]) -> dict[str, int]:
    return dict(Counter(violation.rule for violation in violations).most_common())
