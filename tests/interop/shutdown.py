"""qemu.qmp reads events, on every monitor, and `quit` ends the server."""

from pathlib import Path

from qemu.qmp import EventListener

from _peer import Server, connected, equal, main, started


async def peer(server: Server, scratch: Path) -> None:
    second = scratch / "second.sock"
    extra = ["-chardev", f"socket,id=m2,path={second},server=on,wait=off",
             "-mon", "chardev=m2,mode=control"]
    with started(server, scratch, *extra) as (process, monitor):
        async with connected(monitor) as first, connected(str(second)) as other:
            listeners = EventListener("SHUTDOWN"), EventListener("SHUTDOWN")
            first.register_listener(listeners[0])
            other.register_listener(listeners[1])
            equal("quit", await first.execute("quit"), {})
            for listener in listeners:
                event = await listener.get()
                equal("data", event["data"], {"guest": False, "reason": "host-qmp-quit"})
                equal("timestamp", sorted(event["timestamp"]), ["microseconds", "seconds"])
        equal("exit status", process.wait(20), 0)


main(peer)
