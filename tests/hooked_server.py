"""A server whose three hooks are one receiver, which the test decides for."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from fix_server import RunningServer, start_server
from fix_taking import eventually
from webhook_receiver import Delivery, WebhookReceiver, of_type

__all__ = ["Hooked", "count"]


class Hooked:
    """A server whose three hooks are one receiver."""

    def __init__(self, root: Path, *options: str, to: str | None = None) -> None:
        self.receiver = WebhookReceiver().__enter__()
        url = self.receiver.url
        hooks = ("--on-start", url, "--on-kept", url, "--on-finish", url)
        with ExitStack() as started:  # a server that does not start leaves no receiver
            started.callback(self.receiver.__exit__)
            self.server: RunningServer = start_server(
                root, *hooks, *options, env=self.receiver.env, to=to
            )
            started.pop_all()

    @property
    def files(self) -> str:
        return f"{self.server.url}/files"

    def stop(self) -> None:
        self.server.stop()
        self.receiver.__exit__()

    def forget(self) -> None:
        """What came before is of another test; what is left of it has come."""
        self.receiver.decide = lambda event: (204, None)
        eventually(self._has_all, "all is reported")
        self.receiver.deliveries.clear()

    def _has_all(self) -> bool:
        passed = [one for one in of_type("kept", self.receiver.deliveries) if one.status == 204]
        return count(self, "finished") == len(passed)

    def events(self, files: int) -> list[Delivery]:
        """Waits for those of so many finished files."""
        eventually(lambda: count(self, "finished") >= files, str(self.receiver.deliveries))
        return list(self.receiver.deliveries)


def count(hooked: Hooked, kind: str) -> int:
    return len(of_type(kind, hooked.receiver.deliveries))
