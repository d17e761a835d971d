"""``python -m benchmarks.endpoint --port N``: serves until it is terminated; prints its port first."""

import argparse
import asyncio
from importlib import import_module
from importlib.util import find_spec

from benchmarks.endpoint.server import Connection, Endpoint


async def _serve(port: int) -> None:
    endpoint = Endpoint()
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(endpoint), "127.0.0.1", port, backlog=4096
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0: one that is free")
    loop = import_module("uvloop" if find_spec("uvloop") else "asyncio")
    loop.run(_serve(parser.parse_args().port))
