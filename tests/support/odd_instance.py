"""An instance that misbehaves: `python odd_instance.py KIND --port P --base-directory DIR`.

stuck       answers; its queue holds work and it never runs any
foreign     answers, but was launched elsewhere
errors      opens its port and answers every question with status 500
old         answers; says that it is another version
stubborn    answers; ignores SIGTERM and has a child of its own, whose id it prints
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import subprocess
import sys

from aiohttp import web

STUCK_ROW = [0, "11111111-1111-4111-8111-111111111111", {}, {"client_id": "somebody"}, []]


async def socket(request: web.Request) -> web.WebSocketResponse:
    connection = web.WebSocketResponse()
    await connection.prepare(request)
    await connection.send_json({"type": "status", "data": {"status": {"exec_info": {}}, "sid": "x"}})
    async for _ in connection:
        pass
    return connection


async def serve(kind: str, port: int, directory: str) -> None:
    argv = ["main.py", "--base-directory", "/elsewhere" if kind == "foreign" else directory]

    async def stats(_: web.Request) -> web.Response:
        if kind == "errors":
            return web.Response(status=500)
        version = "0.3.64" if kind == "old" else "0.33.0"
        return web.json_response({"system": {"comfyui_version": version, "argv": argv}, "devices": []})

    async def queue(_: web.Request) -> web.Response:
        pending = [STUCK_ROW] if kind == "stuck" else []
        return web.json_response({"queue_running": [], "queue_pending": pending})

    async def object_info(_: web.Request) -> web.Response:
        return web.json_response({})

    app = web.Application()
    app.router.add_get("/ws", socket)
    app.router.add_get("/system_stats", stats)
    app.router.add_get("/queue", queue)
    app.router.add_get("/object_info", object_info)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind")
    parser.add_argument("--port", type=int)
    parser.add_argument("--base-directory")
    arguments = parser.parse_args()
    if arguments.kind == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        print("child", child.pid, flush=True)
    asyncio.run(serve(arguments.kind, arguments.port, arguments.base_directory))


if __name__ == "__main__":
    main()
