"""uvicorn's side of a connection: what is written, and what an idle socket keeps."""
