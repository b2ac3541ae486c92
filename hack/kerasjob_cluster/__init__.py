"""A real Kubernetes on one machine, for tests: `PYTHONPATH=hack python -m kerasjob_cluster up`.

Control plane, DNS, S3, Prometheus and registry are processes in a network namespace of their own, each of the nodes
(kubelet, containerd, kube-proxy) is one more; a bridge joins them. Nothing of it is in the host's network: the host
reaches it by a relay on 127.0.0.1. No Docker, no virtual machine, no systemd unit.

    main          the commands                      machine      what the machine must have; lock and owner
    paths         all names, addresses and folders  tools        Go tools, built once and cached
    processes     start, find, stop                 network      namespaces, bridge, veths
    pki           certificates and kubeconfigs      controlplane etcd, API server, controllers, scheduler
    services      DNS, S3, Prometheus, registry     relay        127.0.0.1 to the namespace
    node          nodes, also crash, cut, heal      images       base, operator, trainer; build, push, pull
    seed          the nodes' disks, made once       containerd   its configuration and its client
    workloads     operator and demo seeds           leftovers    clears by name, and proves it
    cgroups       version 1 and 2                   progress     lines with seconds, errors, commands
"""
