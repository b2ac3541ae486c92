"""The chart's README from the comments of its values: `python hack/chart_readme.py`; a test fails where it is old."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parents[1] / "charts/kerasjob"
HEAD = """# kerasjob

The operator of `KerasJob`: distributed training for Keras. Written from `values.yaml` by `make generate`.

```console
$ helm install kerasjob charts/kerasjob --namespace kerasjob-system --create-namespace \\
    --set image.repository=YOURS/operator --set trainer.image.repository=YOURS/trainer
$ helm test kerasjob -n kerasjob-system
$ helm upgrade kerasjob charts/kerasjob -n kerasjob-system -f values.yaml   # the CRD as well; jobs train on
$ helm uninstall kerasjob -n kerasjob-system                                # the CRD, and all jobs, stay
```

Two releases can live side by side, each for its own namespaces: `--set 'watch.namespaces={team-a}'`, and
`--set crds.install=false --set monitoring.dashboards.enabled=false` for all but one. What `kubectl apply -k manifests`
has made is taken over with `--take-ownership --force-conflicts`.

| value | default | meaning |
|---|---|---|
"""


def rows(text: str) -> list[tuple[str, str]]:
    """(path, comment) of every key that has a comment above it, in order."""
    found: list[tuple[str, str]] = []
    path: list[tuple[int, str]] = []
    comment: list[str] = []
    for line in text.splitlines():
        words = line.strip()
        if words.startswith("# "):
            comment.append(words[2:])
        elif ":" in words and not words.startswith("-"):
            depth = len(line) - len(line.lstrip())
            path = [(at, name) for at, name in path if at < depth] + [(depth, words.split(":")[0])]
            if comment:
                found.append((".".join(name for _, name in path), " ".join(comment)))
            comment = []
        else:
            comment = []
    return found


def default(values: dict[str, Any], path: str) -> str:
    value: Any = values
    for name in path.split("."):
        value = value[name]
    return yaml.safe_dump(value, default_flow_style=True, width=1000).strip().removesuffix("...").strip()


def render() -> str:
    text = (CHART / "values.yaml").read_text()
    values = yaml.safe_load(text)
    return HEAD + "".join(f"| `{path}` | `{default(values, path)}` | {words} |\n" for path, words in rows(text))


if __name__ == "__main__":
    (CHART / "README.md").write_text(render())
