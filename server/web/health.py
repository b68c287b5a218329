"""What probes and scrapers ask: `/healthz`, `/readyz`, `/metrics`."""

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from server.node.node import Node
from server.store.contracts import Store
from server.store.errors import StoreError

STORE_SECONDS = 1.0  # seconds for Redis to answer a probe


class Health:
    """`/healthz`: the process lives. `/readyz`: it can answer. `/metrics`: Prometheus text."""

    def __init__(self, node: Node, store: Store) -> None:
        self._node = node
        self._store = store

    def routes(self) -> list[Route]:
        """The paths that are answered here."""
        return [
            Route("/healthz", self.alive, methods=["GET"]),
            Route("/readyz", self.ready, methods=["GET"]),
            Route("/metrics", self.metrics, methods=["GET"]),
        ]

    async def alive(self, request: Request) -> Response:
        """200 while the process lives and its event loop turns."""
        return JSONResponse({"status": "ok"})

    async def ready(self, request: Request) -> Response:
        """200 when a turn would be admitted now; what is missing, otherwise."""
        redis = await self._redis()
        lost = self._node.supervisor.lost
        status = self._node.state if redis["state"] == "ok" and not lost else "unavailable"
        body = {"status": status, "engine": self._engine(), "redis": redis}
        if lost:
            body["tasks"] = {"state": "failing", "failing": lost}
        return JSONResponse(body, 200 if status == "ready" else 503)

    async def metrics(self, request: Request) -> Response:
        """All instruments of this node."""
        return Response(self._node.telemetry.exposition(), media_type="text/plain; version=0.0.4")

    def _engine(self) -> dict[str, Any]:
        node = self._node
        engine = {"state": node.state, "seconds": round(node.load_seconds, 1), "model": node.config.name}
        return engine | {"error": node.error} if node.error else engine

    async def _redis(self) -> dict[str, Any]:
        if self._node.journal.stalled:
            return {"state": "stalled"}
        try:
            async with asyncio.timeout(STORE_SECONDS):
                await self._store.check()
        except TimeoutError:
            return {"state": "stalled"}
        except StoreError as error:
            return {"state": "down", "error": str(error)}
        return {"state": "ok"}
