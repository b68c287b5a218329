"""HTTP and WebSockets: the only home of Starlette and uvicorn."""
