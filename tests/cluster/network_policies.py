"""What a NetworkPolicy lets in, worked out from the objects. The test cluster's network does not enforce policies."""


def selects(selector: dict, labels: dict[str, str]) -> bool:
    """Whether a label selector (of equalities: we write no other) matches."""
    assert not selector.get("matchExpressions")
    return selector.get("matchLabels", {}).items() <= labels.items()


def lets_in(policy: dict, target: dict, source: dict, source_namespace: dict, port: int) -> bool:
    """Whether a pod (`source`) reaches a port (TCP) of another one (`target`) where this is the only policy."""
    spec, home = policy["spec"], policy["metadata"]["namespace"]
    is_meant = target["metadata"]["namespace"] == home and selects(spec["podSelector"], target["metadata"]["labels"])
    if not is_meant or "Ingress" not in spec["policyTypes"]:
        return True
    return any(
        any(_is_peer(peer, home, source, source_namespace) for peer in rule["from"])
        and any(_has_port(ports, port) for ports in rule["ports"])
        for rule in spec["ingress"]
    )


def _is_peer(peer: dict, home: str, source: dict, source_namespace: dict) -> bool:
    assert peer
    assert not peer.keys() - {"podSelector", "namespaceSelector"}
    if "namespaceSelector" in peer:
        in_namespace = selects(peer["namespaceSelector"], source_namespace["metadata"]["labels"])
    else:
        in_namespace = source["metadata"]["namespace"] == home
    return in_namespace and selects(peer.get("podSelector", {}), source["metadata"].get("labels", {}))


def _has_port(ports: dict, port: int) -> bool:
    return ports["protocol"] == "TCP" and ports["port"] <= port <= ports.get("endPort", ports["port"])
