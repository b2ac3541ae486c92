"""S3: a real server (versitygw), and what is said when it says no."""

import json
import os
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from tests.trainer.faulty_s3 import FaultyS3
from tests.trainer.harness import Gates, eventually, free_ports
from tests.trainer.stores import checkpoints_do_what_they_say, store_does_what_it_says

from kerasjob_api.wire import DataSource, KeepConfig, S3Access
from kerasjob_trainer.checkpoints import Checkpoints
from kerasjob_trainer.manifests import Files, Saved
from kerasjob_trainer.staging.data import stage
from kerasjob_trainer.store import StoreError, open_store

ROOT = Path(__file__).parents[2]
ROLE = """<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{key}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey>
<SessionToken>some-session</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>
</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"""
KEY, SECRET = "some-key", "some-secret"


def versitygw() -> str | None:
    """The server's binary: KERASJOB_VERSITYGW, the test cluster's, or one on PATH."""
    for path in (os.environ.get("KERASJOB_VERSITYGW"), ROOT / ".cluster" / "bin" / "versitygw"):
        if path and Path(path).exists():
            return str(path)
    return shutil.which("versitygw")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    binary = versitygw()
    if binary is None:
        pytest.skip("no versitygw: `make cluster-up` builds it, or set KERASJOB_VERSITYGW")
    folder = tmp_path_factory.mktemp("s3")
    (folder / "bucket").mkdir()
    (port,) = free_ports(1)
    command = [binary, "--access", KEY, "--secret", SECRET, "--port", f"127.0.0.1:{port}", "posix", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        endpoint = f"http://127.0.0.1:{port}"
        keys = folder.parent / "keys"
        write_keys(keys, KEY, SECRET)
        eventually(lambda: answers(endpoint, keys), "the S3 server answers", 20)
        yield endpoint
        process.kill()


def answers(endpoint: str, keys: Path) -> bool:
    try:
        open_store("s3://bucket/", S3Access(endpoint, "us-east-1", "keys"), keys).entries("")
    except StoreError:
        return False
    return True


def write_keys(folder: Path, key: str, secret: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "AWS_ACCESS_KEY_ID").write_text(key)
    (folder / "AWS_SECRET_ACCESS_KEY").write_text(secret)


def start(job, endpoint, keys=None, checkpoint="s3://bucket/checkpoints/", data=()):
    """A job with one worker; `keys` are what its secret holds."""
    s3 = {"endpoint": endpoint, "region": "us-east-1", "secretName": "my-secret"}
    made = job(config={"checkpoint": {"uri": checkpoint}, "data": list(data), "s3": s3})
    if keys is not None:
        write_keys(made.folder / "s3-keys", *keys)
    made.start(0)
    return made


def problem_of(made) -> str:
    return made.live[0].wait_for(lambda r: r["problem"] is not None, "a problem", 30)["problem"]["message"]


def test_a_missing_secret_is_named_and_heals_once_it_comes(job, server):
    made = start(job, server)
    message = problem_of(made)
    for words in ("my-secret", "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", server, "'bucket'"):
        assert words in message
    write_keys(made.folder / "s3-keys", KEY, SECRET)
    made.live[0].wait_for(lambda r: r["problem"] is None, "the problem is gone", 30)


@pytest.mark.parametrize(
    ("key", "secret", "said"), [("nobody", "nothing", "the server said"), (KEY, "nothing", "SignatureDoesNotMatch")]
)
def test_a_wrong_secret(job, server, key, secret, said):
    message = problem_of(start(job, server, (key, secret)))
    for words in ("the keys are wrong", said, "my-secret", server, "'bucket'"):
        assert words in message
    assert "nothing" not in message


def test_a_missing_bucket(job, server):
    message = problem_of(start(job, server, (KEY, SECRET), checkpoint="s3://nowhere/checkpoints/"))
    for words in ("the bucket does not exist", "NoSuchBucket", "'nowhere'", server):
        assert words in message


def test_an_endpoint_that_cannot_be_reached(job):
    (port,) = free_ports(1)
    message = problem_of(start(job, f"http://127.0.0.1:{port}", (KEY, SECRET)))
    for words in ("the endpoint cannot be reached", f"http://127.0.0.1:{port}", "spec.storage.s3.endpoint"):
        assert words in message


def test_data_that_is_not_in_the_bucket(job, server, tmp_path):
    data = [{"uri": "s3://bucket/digits/", "path": str(tmp_path / "digits")}]
    message = problem_of(start(job, server, (KEY, SECRET), data=data))
    assert "bucket 'bucket' has no object under 'digits/'" in message


def test_data_comes_from_a_prefix_or_an_object(server, tmp_path):
    keys = tmp_path / "keys"
    write_keys(keys, KEY, SECRET)
    s3 = S3Access(server, "us-east-1", "keys")
    store = open_store("s3://bucket/", s3, keys)
    (tmp_path / "file").write_text("content")
    for key in ("data/a.txt", "data/deep/b.txt", "database.txt"):
        store.put_file(key, tmp_path / "file")
    found = stage(DataSource("s3://bucket/data/", str(tmp_path / "all")), s3, keys)
    assert sorted(str(p.relative_to(tmp_path / "all")) for p in found) == ["a.txt", "deep/b.txt"]
    assert stage(DataSource("s3://bucket/data", str(tmp_path / "same")), s3, keys)
    (one,) = stage(DataSource("s3://bucket/data/a.txt", str(tmp_path / "one.txt")), s3, keys)
    assert one.read_text() == "content"
    (inside,) = stage(DataSource("s3://bucket/data/a.txt", f"{tmp_path}/folder/"), s3, keys)
    assert inside == tmp_path / "folder" / "a.txt"


@pytest.fixture
def s3_store(server, tmp_path):
    keys = tmp_path / "keys"
    write_keys(keys, KEY, SECRET)
    return open_store(f"s3://bucket/{tmp_path.name}/", S3Access(server, "us-east-1", "keys"), keys)


def requests_of(store) -> list:
    """Fills as the store asks its server."""
    seen = []

    def note(request, **_):
        seen.append(request)

    store._client.meta.events.register("before-send.s3", note)
    return seen


@pytest.mark.parametrize(
    ("endpoint", "style", "url"),
    [
        ("http://127.0.0.1:9", "auto", "http://127.0.0.1:9/bucket"),
        ("http://store.example:9", "virtual", "http://bucket.store.example:9/"),
        ("http://store.example:9", "path", "http://store.example:9/bucket"),
    ],
)
def test_where_the_bucket_stands(endpoint, style, url, tmp_path, monkeypatch):
    monkeypatch.setattr("kerasjob_trainer.store.s3.CONNECT_SECONDS", 0.1)
    write_keys(tmp_path, KEY, SECRET)
    store = open_store("s3://bucket/", S3Access(endpoint, "us-east-1", addressing_style=style), tmp_path)
    seen = requests_of(store)
    with pytest.raises(StoreError, match="cannot be reached"):
        store.entries("")
    assert seen[0].url.startswith(f"{url}?")


def test_all_that_is_written_is_encrypted_by_the_server(server, tmp_path):
    write_keys(tmp_path / "keys", KEY, SECRET)
    s3 = S3Access(server, "us-east-1", "keys", encryption="aws:kms", kms_key_id="some-key-id")
    store = open_store(f"s3://bucket/{tmp_path.name}/", s3, tmp_path / "keys")
    seen = requests_of(store)
    (tmp_path / "file").write_text("content")
    (tmp_path / "large").write_bytes(bytes(20 * 2**20))  # in parts
    store.put_file("file", tmp_path / "file")
    store.put_file("large", tmp_path / "large")
    store.put_if_absent("other", b"content")
    begun = [r for r in seen if "x-amz-server-side-encryption" in r.headers]
    assert {r.url.partition(f"{tmp_path.name}/")[2] for r in begun} == {"file", "large?uploads", "other"}
    assert {r.headers["x-amz-server-side-encryption-aws-kms-key-id"] for r in begun} == {b"some-key-id"}
    assert store.get("file") == b"content"


def test_a_service_accounts_role_gives_the_keys(server, tmp_path, monkeypatch):
    asked = []

    class Sts(BaseHTTPRequestHandler):
        def do_POST(self):
            asked.append(parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode()))
            body = ROLE.format(key=KEY, secret=SECRET).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    (tmp_path / "token").write_text("the-token")
    with ThreadingHTTPServer(("127.0.0.1", 0), Sts) as sts:
        threading.Thread(target=sts.serve_forever, daemon=True).start()
        for name, value in {
            "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/trainer",
            "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "token"),
            "AWS_ENDPOINT_URL_STS": f"http://127.0.0.1:{sts.server_address[1]}",
            "AWS_REGION": "us-east-1",
        }.items():
            monkeypatch.setenv(name, value)
        store = open_store(f"s3://bucket/{tmp_path.name}/", S3Access(server, "us-east-1"), tmp_path / "no-secret")
        assert store.put_if_absent("file", b"content")
        assert store.get("file") == b"content"
        sts.shutdown()
    assert asked[0]["Action"] == ["AssumeRoleWithWebIdentity"]
    assert asked[0]["WebIdentityToken"] == ["the-token"]


def test_the_store(s3_store, tmp_path):
    store_does_what_it_says(s3_store, tmp_path, is_atomic=False)


def commit(checkpoints, folder, step):
    """A checkpoint whose files are in a folder."""
    files = Files({name: folder / name for name in ("outputs-0.tar", "state.safetensors", "session.json")})
    position = {"call": 0, "epoch": step, "step": 0, "phase": "epochEnd"}
    checkpoints.commit(Saved(files, 1, step, None, position, ()), 1)
    checkpoints.thin_out(1)


@pytest.mark.parametrize(("times", "num_checkpoints", "num_sent"), [(1000, 3, 1), (4_000_000, 3, 1), (1000, 10, 2)])
def test_archives_that_checkpoints_share_are_seldom_sent(times, num_checkpoints, num_sent, s3_store, tmp_path):
    checkpoints = Checkpoints(s3_store, "uid", KeepConfig(last=2))
    archive = tmp_path / "outputs-0.tar"
    archive.write_bytes(b"models" * times)  # the larger one goes in parts
    (tmp_path / "state.safetensors").write_bytes(b"tensors")
    (tmp_path / "session.json").write_text("{}")
    sent = []
    put = s3_store.put_file

    def put_file(key, path):
        sent.append(path.name)
        put(key, path)

    s3_store.put_file = put_file
    for step in range(1, num_checkpoints + 1):
        commit(checkpoints, tmp_path, step)
    assert sent.count("outputs-0.tar") == num_sent
    assert sent.count("state.safetensors") == num_checkpoints
    newest = checkpoints.newest_whole(tmp_path / "restored")
    assert (tmp_path / "restored" / newest.id / "outputs-0.tar").read_bytes() == archive.read_bytes()
    copies = [entry.key for entry in s3_store.entries("checkpoints/") if entry.key.endswith("outputs-0.tar")]
    assert len(copies) == 2, "each checkpoint that stays has its own"


def test_an_archive_that_the_store_has_damaged_spoils_one_checkpoint(server, tmp_path):
    faulty = FaultyS3(server)
    write_keys(tmp_path / "keys", KEY, SECRET)
    store = open_store(
        f"s3://bucket/{tmp_path.name}/", S3Access(faulty.endpoint, "us-east-1", "keys"), tmp_path / "keys"
    )
    checkpoints = Checkpoints(store, "uid", KeepConfig())
    for name in ("outputs-0.tar", "state.safetensors", "session.json"):
        (tmp_path / name).write_text(f"content of {name}")
    checkpoints.claim(1)
    faulty.show("damage", "PUT", 1)  # the archive comes first
    commit(checkpoints, tmp_path, 1)
    assert faulty.shown == 1
    assert checkpoints.newest_whole(tmp_path / "r1") is None
    commit(checkpoints, tmp_path, 2)
    commit(checkpoints, tmp_path, 3)
    assert checkpoints.newest_whole(tmp_path / "r2").step == 3
    faulty.close()


def test_checkpoints(s3_store, tmp_path):
    checkpoints_do_what_they_say(s3_store, tmp_path)


def test_a_job_goes_on_from_s3_with_a_new_agent(job, server, tmp_path):
    gates = Gates(tmp_path / "gates", "0-2-3")
    s3 = {"endpoint": server, "region": "us-east-1", "secretName": "my-secret"}
    config = {"checkpoint": {"uri": "s3://bucket/checkpoints", "keep": {"last": 2}}, "s3": s3}
    made = job("two_fits.py", 0.0, 3, gates.folder, workers=1, uid="on-s3", config=config)
    write_keys(made.folder / "s3-keys", KEY, SECRET)
    made.start(0)
    made.form()
    gates.wait_for("0-2-3", made)
    store = open_store("s3://bucket/checkpoints/on-s3/", S3Access(server, "us-east-1"), made.folder / "s3-keys")
    eventually(lambda: len(store.entries("manifests/")) == 2, "two checkpoints are committed")
    made.live[0].kill()
    gates.open("0-2-3")
    worker = made.start(0, incarnation=1)
    made.form()
    assert worker.wait_for_end() == 0, worker.log()
    assert "goes on from checkpoint 000000000012.1-r1" in worker.log()
    done = json.loads(store.get("done.json") or b"")
    assert [call["epochs"] for call in done["histories"]] == [[0, 1, 2], [0, 1, 2]]
    again = made.start(0, incarnation=2)  # by mistake: the record says that all is done
    assert again.wait_for_end(20) == 0
