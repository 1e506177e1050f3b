"""Installs what the benchmarks compare with: nginx with its RTMP module by apt-get, node-media-server by npm.

    python -m bench.peers

What cannot be had is named, and its rows say so; nothing else fails.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from bench.servers import MODULES, NMS_FOLDER

NMS = "node-media-server@4.4.3"
_PACKAGES = Path(__file__).resolve().parents[1] / ".ci" / "packages"


def main() -> None:
    if shutil.which("nginx") is None or not any(Path(path).exists() for path in MODULES):
        subprocess.run(
            ["sh", str(_PACKAGES), "--optional", "nginx", "libnginx-mod-rtmp", "ffmpeg"], check=False
        )
    if (NMS_FOLDER / "node_modules" / "node-media-server").exists():
        return
    if shutil.which("npm") is None:
        print("no npm: node-media-server is left out")
        return
    NMS_FOLDER.mkdir(parents=True, exist_ok=True)
    print(f"installing {NMS} into {NMS_FOLDER}", flush=True)
    command = ["npm", "install", "--silent", "--no-fund", "--no-audit", "--prefix", str(NMS_FOLDER), NMS]
    if subprocess.run(command, check=False).returncode:
        print("npm could not install it: node-media-server is left out")


if __name__ == "__main__":
    main()
