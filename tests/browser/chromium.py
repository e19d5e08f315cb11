"""Headless Chromium, driven over its DevTools protocol; nothing but the browser and a websocket.

Source: https://chromedevtools.github.io/devtools-protocol/.
"""

import asyncio
import base64
import contextlib
import json
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

import aiohttp

START_SECONDS = 60
WAIT_SECONDS = 30
MESSAGE_BYTES_MAX = 64 * 1024 * 1024
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--hide-scrollbars",
    "--no-first-run",
    "--no-default-browser-check",
    "--remote-debugging-port=0",
    # Whatever the browser itself would like to reach is not there.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
KEYS: dict[str, dict[str, object]] = {
    "Tab": {"key": "Tab", "code": "Tab", "windowsVirtualKeyCode": 9},
    "Enter": {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"},
}


def find_chromium() -> str | None:
    """Return the path of a Chromium on this machine."""
    found = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
    return next((path for path in found if path), None)


class Browser:
    """One browser process with one connection to it."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        session: aiohttp.ClientSession,
        socket: aiohttp.ClientWebSocketResponse,
    ) -> None:
        self._process = process
        self._session = session
        self._socket = socket
        self._last_id = 0
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._tabs: dict[str, Tab] = {}
        self._reader = asyncio.get_running_loop().create_task(self._read())

    @classmethod
    async def start(cls, program: str, folder: Path) -> Self:
        """Start a browser whose profile lies in an empty folder."""
        process = await asyncio.create_subprocess_exec(
            program,
            *FLAGS,
            f"--user-data-dir={folder}",
            "about:blank",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        port_file = folder / "DevToolsActivePort"
        async with asyncio.timeout(START_SECONDS):
            while not (port_file.exists() and len(port_file.read_text().split()) == 2):
                assert process.returncode is None, f"{program} ended with {process.returncode}"
                await asyncio.sleep(0.05)
        port, path = port_file.read_text().split()
        session = aiohttp.ClientSession()
        socket = await session.ws_connect(f"ws://127.0.0.1:{port}{path}", max_msg_size=MESSAGE_BYTES_MAX)
        return cls(process, session, socket)

    async def stop(self) -> None:
        """End the browser and wait until it is gone."""
        self._reader.cancel()
        await self._socket.close()
        await self._session.close()
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    async def send(self, method: str, session_id: str | None = None, **params: object) -> dict[str, Any]:
        """Send one command and return its result."""
        self._last_id += 1
        answer = self._answers[self._last_id] = asyncio.get_running_loop().create_future()
        message = {"id": self._last_id, "method": method, "params": params}
        await self._socket.send_str(json.dumps(message | ({"sessionId": session_id} if session_id else {})))
        async with asyncio.timeout(WAIT_SECONDS):
            reply = await answer
        assert "error" not in reply, f"{method}: {reply['error']}"
        result: dict[str, Any] = reply["result"]
        return result

    async def _read(self) -> None:
        async for message in self._socket:
            event = json.loads(message.data)
            if "id" in event:
                self._answers.pop(event["id"]).set_result(event)
            elif event.get("sessionId") in self._tabs:
                self._tabs[event["sessionId"]].take(event["method"], event["params"])

    @contextlib.asynccontextmanager
    async def tab(
        self,
        *,
        width: int = 1000,
        height: int = 900,
        language: str = "es-MX,es;q=0.9,en;q=0.8",
        dark: bool = False,
        script: bool = True,
        media: str = "",
    ) -> AsyncIterator["Tab"]:
        """Open a page in a profile of its own; `media` is `print` for paper."""
        context = (await self.send("Target.createBrowserContext"))["browserContextId"]
        target = (await self.send("Target.createTarget", url="about:blank", browserContextId=context))["targetId"]
        session_id = (await self.send("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
        tab = self._tabs[session_id] = Tab(self, session_id)
        for domain in ("Page", "Runtime", "Log", "Network", "DOM", "Accessibility"):
            await tab.send(f"{domain}.enable")
        await tab.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        await tab.send("Network.setExtraHTTPHeaders", headers={"Accept-Language": language})
        await tab.send(
            "Emulation.setEmulatedMedia",
            media=media,
            features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}],
        )
        await tab.send("Emulation.setScriptExecutionDisabled", value=not script)
        try:
            yield tab
        finally:
            del self._tabs[session_id]
            await self.send("Target.disposeBrowserContext", browserContextId=context)


class Tab:
    """One page: what it asked for, what it complained about, and hands to use it."""

    def __init__(self, browser: Browser, session_id: str) -> None:
        self._browser = browser
        self._session_id = session_id
        self._loaded = asyncio.Event()
        self.requests: list[str] = []
        """Addresses, in order."""
        self.statuses: list[int] = []
        """HTTP status codes of documents, in order."""
        self.received_bytes = 0
        """Over the wire, headers included."""
        self.complaints: list[str] = []
        """Console errors, warnings, exceptions and refused policies."""

    async def send(self, method: str, **params: object) -> dict[str, Any]:
        """Send one command to this page."""
        return await self._browser.send(method, self._session_id, **params)

    def take(self, method: str, params: dict[str, Any]) -> None:
        """Note what the page reports."""
        match method:
            case "Page.loadEventFired":
                self._loaded.set()
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            case "Network.responseReceived" if params["type"] == "Document":
                self.statuses.append(params["response"]["status"])
            case "Network.loadingFinished":
                self.received_bytes += int(params["encodedDataLength"])
            case "Log.entryAdded" if params["entry"]["level"] in {"warning", "error"}:
                self.complaints.append(params["entry"]["text"])
            case "Runtime.consoleAPICalled" | "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(params))

    async def go(self, address: str) -> None:
        """Open an address and wait until it is loaded."""
        self._loaded.clear()
        result = await self.send("Page.navigate", url=address)
        assert "errorText" not in result, result
        await self.loaded()

    async def loaded(self) -> None:
        """Wait until the next page is loaded."""
        async with asyncio.timeout(WAIT_SECONDS):
            await self._loaded.wait()

    async def evaluate(self, expression: str) -> Any:  # noqa: ANN401 – whatever the page answers
        """Return the value of a JavaScript expression, which the page's own policy does not bind."""
        result = await self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def text(self, selector: str) -> str:
        """Return the visible text of an element, white space joined."""
        value = await self.evaluate(f"document.querySelector({json.dumps(selector)}).innerText")
        return " ".join(str(value).split())

    async def choose_file(self, selector: str, path: Path) -> None:
        """Put a file into a file field."""
        document = await self.send("DOM.getDocument")
        node = await self.send("DOM.querySelector", nodeId=document["root"]["nodeId"], selector=selector)
        await self.send("DOM.setFileInputFiles", nodeId=node["nodeId"], files=[str(path)])

    async def press(self, key: str, *, leaves: bool = False) -> None:
        """Press and release a key; `leaves`: and wait for the page that this leads to."""
        self._loaded.clear()
        await self.send("Input.dispatchKeyEvent", type="keyDown", **KEYS[key])
        await self.send("Input.dispatchKeyEvent", type="keyUp", **KEYS[key])
        if leaves:
            await self.loaded()

    async def type(self, text: str) -> None:
        """Put text into the element that has the focus, as pasting does."""
        await self.send("Input.insertText", text=text)

    async def click(self, selector: str, *, leaves: bool = True) -> None:
        """Click in the middle of an element."""
        self._loaded.clear()
        box = await self.evaluate(
            f"(e => {{ e.scrollIntoView({{block: 'center', behavior: 'instant'}}); const b = e.getBoundingClientRect();"
            f" return [b.x + b.width / 2, b.y + b.height / 2]; }})(document.querySelector({json.dumps(selector)}))"
        )
        for kind in ("mousePressed", "mouseReleased"):
            await self.send("Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left", clickCount=1)
        if leaves:
            await self.loaded()

    async def focused(self) -> str:
        """Return the id of the element with the focus, else its class, else its tag."""
        value = await self.evaluate(
            "(e => e.id || e.className || e.tagName.toLowerCase())(document.activeElement)",
        )
        return str(value)

    async def screenshot(self, path: Path) -> None:
        """Write the whole page as PNG."""
        result = await self.send("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(result["data"]))
