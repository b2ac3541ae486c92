"""The commands: up, down, status, tools, images, node. A table of contents; the work is in the other modules."""

from __future__ import annotations

import argparse
import json
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from kerasjob_cluster import (
    controlplane,
    images,
    leftovers,
    machine,
    network,
    node,
    paths,
    pki,
    processes,
    seed,
    services,
    tools,
    workloads,
)
from kerasjob_cluster.controlplane import kubectl
from kerasjob_cluster.progress import ClusterError, say, step


def main(arguments: list[str]) -> int:
    options = parser().parse_args(arguments)
    try:
        machine.require()
        if options.command == "status":
            return status()
        with machine.locked():
            result: int = options.function(options)
            return result
    except ClusterError as error:
        say(str(error))
        return error.code
    except KeyboardInterrupt:
        say("interrupted; `up` goes on from here, `down` takes all away")
        return 130


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="kerasjob_cluster", description="A real Kubernetes on this machine, for tests.")
    commands = top.add_subparsers(dest="command", required=True)
    up_ = commands.add_parser("up", help="start it, or repair what died")
    up_.add_argument(
        "--no-images", action="store_true", help="without operator and trainer images (no operator, either)"
    )
    up_.add_argument("--no-operator", action="store_true", help="with images, without the operator")
    up_.add_argument("--control-plane-only", action="store_true", help="API server and controllers; no nodes, no S3")
    up_.set_defaults(function=up)
    commands.add_parser("down", help="take all of it away").set_defaults(function=down)
    commands.add_parser("status", help="what runs, where, and where the logs are")
    tools_ = commands.add_parser("tools", help="build the tools, or some of them")
    tools_.add_argument("names", nargs="*", help=", ".join(tool.name for tool in tools.TOOLS))
    tools_.set_defaults(function=lambda options: build_tools(set(options.names) or None))
    commands.add_parser("images", help="build the images; bring them to a running cluster").set_defaults(function=renew)
    node_ = commands.add_parser("node", help="a node's fate")
    fates = node_.add_subparsers(dest="fate", required=True)
    for fate, words in {
        "crash": "power loss: everything of it dies at once, the disk stays",
        "start": "power comes back",
        "cut": "pull its network cable",
        "heal": "put the cable back",
        "gpu": "claim that it has COUNT GPUs (none that computes)",
    }.items():
        fate_ = fates.add_parser(fate, help=words)
        fate_.add_argument("name", choices=[item.name for item in paths.NODES])
        if fate == "gpu":
            fate_.add_argument("count", type=int)
    node_.set_defaults(function=meet_fate)
    return top


def up(options: argparse.Namespace) -> int:
    if machine.claim():
        say("the cluster is here; looking for what died")
    elif left := leftovers.remaining():
        with step(f"cleared {len(left)} leftovers of a cluster that is gone"):
            leftovers.clear()
    if machine.owner() is None:
        leftovers.clear_state()
        leftovers.clear_logs()
    small = options.control_plane_only
    wanted = tools.CONTROL_PLANE_ONLY if small else {tool.name for tool in tools.TOOLS if not tool.on_demand}
    tools.require(wanted)
    machine.install_packages(machine.CONTROL_PLANE_PACKAGES if small else None)
    machine.set_kernel()
    machine.write_owner()
    with_images = not (small or options.no_images)
    with ThreadPoolExecutor() as pool:
        built = pool.submit(images.build_all) if with_images else None  # beside all that follows
        tools.ensure(wanted)
        start_control_plane(small)
        if not small:
            digests = push(built)
            if any(not item.disk.exists() for item in paths.NODES):
                seed.update(digests)
            start_nodes(digests)
            if built and not options.no_operator:
                workloads.deploy_operator(digests["operator"])
            with step("demo: seeded"):
                workloads.seed_demo()
    say(f"up. export KUBECONFIG={paths.KUBECONFIG}; kubectl is {paths.BIN / 'kubectl'}")
    return 0


def start_control_plane(small: bool) -> None:
    with step("control plane: ready"):
        network.make_control_plane()
        pki.make()
        controlplane.start_api_server()
        services.start_relay()
        if not small:
            services.start_registry()
            services.start_s3()
        controlplane.wait_api_server()
        controlplane.start_controllers(scheduler=not small)
        services.publish()
        if not small:
            services.start_dns()
            services.start_prometheus()
    if not small:
        with step("services: DNS, S3, Prometheus, registry listen"):
            services.wait_for("coredns", 53)
            services.wait_for("versitygw", paths.S3_PORT)
            services.wait_for("prometheus", paths.PROMETHEUS_PORT)
            services.wait_for("registry", paths.REGISTRY_PORT)


def push(built: Future[dict[str, str]] | None) -> dict[str, str]:
    """Sends what was built to the registry. Digests by image."""
    inputs = {"pause": images.build_pause()} | (built.result() if built else {})
    digests = {name: images.push(name, digest) for name, digest in inputs.items()}
    images.release_storage()
    return digests


def start_nodes(digests: dict[str, str], nodes: tuple[paths.Node, ...] = paths.NODES) -> None:
    with step(f"nodes: {', '.join(item.name for item in nodes)} Ready"):
        for item in nodes:
            node.start_runtime(item)
        images.distribute(digests, nodes)
        began = {item: node.start_agents(item) for item in nodes}
        for item, since in began.items():
            node.wait_ready(item, since)


def renew(options: argparse.Namespace) -> int:
    """`images`: after a change of the sources, on a running cluster the operator is rolled out, too."""
    machine.install_packages()
    running = machine.claim() and processes.alive("registry") is not None
    with ThreadPoolExecutor() as pool:
        built = pool.submit(images.build_all)
        if running:
            digests = push(built)
            images.distribute(digests, [item for item in paths.NODES if node.is_up(item)])
            workloads.deploy_operator(digests["operator"])
        built.result()
    images.release_storage()
    return 0


def build_tools(names: set[str] | None) -> int:
    tools.ensure(names)
    say(f"tools are linked in {paths.BIN}")
    return 0


def meet_fate(options: argparse.Namespace) -> int:
    if not machine.claim():
        raise ClusterError("There is no cluster of this checkout; run `up` first.")
    target = paths.node_named(options.name)
    if options.fate == "crash":
        node.power_off(target)
    elif options.fate == "start":
        start_nodes(push(None), (target,))
    elif options.fate == "cut":
        network.cut(target)
    elif options.fate == "heal":
        network.heal(target)
    else:
        node.set_gpus(target, options.count)
    say(f"{target.name}: {options.fate}")
    return 0


def down(options: argparse.Namespace) -> int:
    machine.claim()
    with step("processes, mounts, namespaces, cgroups and disks: removed"):
        leftovers.clear()
        images.release_storage()
        leftovers.clear_state()
    left = leftovers.remaining()
    for line in left:
        say(f"still there: {line}")
    say(f"down, but {len(left)} things are left" if left else f"down; nothing is left but logs in {paths.LOGS}")
    return 1 if left else 0


def status() -> int:
    """0: all that was started runs. 1: something died, or nothing runs."""
    holder = machine.owner()
    if holder != str(paths.STATE):
        print(f"a cluster of {Path(holder).parent} runs here" if holder else "no cluster runs; `up` starts one")
        for line in leftovers.remaining() if not holder else ():
            print(f"left over: {line}")
        return 1
    running = processes.started()
    for name, pid in running.items():
        print(f"{name:26} {f'pid {pid}' if pid else 'DEAD':12} {processes.log_of(name)}")
    if paths.ENDPOINTS.exists():
        for name, value in json.loads(paths.ENDPOINTS.read_text()).items():
            print(f"{name:26} {value}")
    print(f"{'audit log':26} {paths.AUDIT_LOG}")
    print(f"{'API server':26} {kubectl('get', '--raw', '/readyz', check=False) or 'does not answer'}")
    print(kubectl("get", "nodes", check=False) or "no nodes")
    print(f"export KUBECONFIG={paths.KUBECONFIG} PATH={paths.BIN}:$PATH")
    return 0 if all(running.values()) else 1
