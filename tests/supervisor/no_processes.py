"""What stands in for the fleet where no process is to be started."""


class NoProcesses:
    """Notes what the dispatcher asks for, and does nothing.

    A real fleet would start a process for each model, whose progress these tests tell themselves.

    Attributes:
        did: What it would have done, such as ``start a``.
    """

    def __init__(self) -> None:
        self.did: list[str] = []
        self._models: dict[int, str] = {}

    def spawn(self, model: str, swap: int) -> None:
        self._models[swap] = model
        self.did.append(f"start {model}")

    def terminate(self, swap: int, grace_s: float) -> None:
        self.did.append(f"stop {self._models[swap]}")

    def put_to_sleep(self, swap: int) -> None:
        self.did.append(f"put {self._models[swap]} to sleep")

    def wake(self, swap: int) -> None:
        self.did.append(f"wake {self._models[swap]}")

    def key_of(self, model: str) -> str:
        return ""
