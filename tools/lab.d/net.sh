# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Functions for scripts that run in the machine of tools/lab; source this file. They change the
# network, and end the script with a word why when that fails: never use them elsewhere.

lab_die() {
    echo "lab: $*" >&2
    exit 125
}

[ -e /run/lab/settings ] || lab_die "these functions are for the machine of tools/lab, and this is not it"

lab_do() {
    "$@" || lab_die "'$*' failed"
}

# Waits until a command succeeds; gives up after about 30 s.
lab_await() {
    local tries
    for ((tries = 0; tries < 600; tries++)); do
        "$@" >/dev/null 2>&1 && return
        sleep 0.05
    done
    lab_die "waited in vain for '$*'"
}

# ---- two RDMA devices, rxe0 and rxe1, as on two hosts ----
#
# The devices lie on the two ends, v0 and v1, of one cable. Debian's kernel knows software RDMA only
# in its first network namespace, so both ends are there, and rules see to it that what goes from one
# end's address to the other's leaves by the cable.

LAB_RXE0=10.77.0.1
LAB_RXE1=10.77.0.2

# lab_cross OWN OTHER ADDRESS OTHER_ADDRESS TABLE
lab_cross() {
    lab_do ip route replace "$4" dev "$1" src "$3" table "$5"
    lab_do ip neighbour replace "$4" dev "$1" lladdr "$(cat "/sys/class/net/$2/address")" nud permanent
    lab_do sysctl -qw "net.ipv4.conf.$1.accept_local=1" "net.ipv4.conf.$1.rp_filter=0"
}

# What goes when an end is taken down, and is to be there again when it is up.
lab_crossings() {
    lab_cross v0 v1 "$LAB_RXE0" "$LAB_RXE1" 101
    lab_cross v1 v0 "$LAB_RXE1" "$LAB_RXE0" 102
}

lab_rdma_devices() {
    local index
    lab_do sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv6.conf.all.disable_ipv6=1
    lab_do ip link add v0 mtu 4200 type veth peer name v1 mtu 4200
    lab_do ip address add "$LAB_RXE0/32" dev v0
    lab_do ip address add "$LAB_RXE1/32" dev v1
    lab_do ip link set v0 up
    lab_do ip link set v1 up
    # The table of local addresses goes first unless it is moved.
    lab_do ip rule add lookup local priority 100
    lab_do ip rule delete lookup local priority 0
    lab_do ip rule add from "$LAB_RXE0" to "$LAB_RXE1" iif lo lookup 101 priority 10
    lab_do ip rule add from "$LAB_RXE1" to "$LAB_RXE0" iif lo lookup 102 priority 10
    lab_crossings
    for index in 0 1; do
        lab_rdma_add "$index"
    done
}

# Each of these takes the device's number.

lab_rdma_add() {
    lab_do rdma link add "rxe$1" type rxe netdev "v$1"
    lab_await lab_rdma_ready "rxe$1"
}

# Returns once no process holds the device any more; until then it works.
lab_rdma_delete() {
    lab_do rdma link delete "rxe$1"
}

lab_rdma_down() {
    lab_do ip link set "v$1" down
}

lab_rdma_up() {
    lab_do ip link set "v$1" up
    lab_crossings
    lab_await lab_rdma_ready rxe0
    lab_await lab_rdma_ready rxe1
}

# The cable between the devices loses everything, both ways, and nothing again; without a number.
lab_rdma_cut() {
    lab_do tc qdisc add dev v0 root netem loss 100%
    lab_do tc qdisc add dev v1 root netem loss 100%
}

lab_rdma_mend() {
    lab_do tc qdisc delete dev v0 root
    lab_do tc qdisc delete dev v1 root
}

# Active, with an address of version 4 in its table.
lab_rdma_ready() {
    [[ $(cat "/sys/class/infiniband/$1/ports/1/state") == *ACTIVE ]] &&
        grep -q ffff: "/sys/class/infiniband/$1/ports/1/gids/"*
}

# Packets that a device has sent and received, "SENT RECEIVED".
lab_rdma_packets() {
    local counters=/sys/class/infiniband/$1/ports/1/hw_counters
    echo "$(cat "$counters/sent_pkts") $(cat "$counters/rcvd_pkts")"
}

# ---- two network namespaces, a and b, with a cable between them: eth0 at both ends ----

LAB_A=10.78.0.1
LAB_B=10.78.0.2

lab_namespaces() {
    local name
    for name in a b; do
        lab_do ip netns add "$name"
        lab_do ip -n "$name" link set lo up
    done
    lab_do ip link add eth0 netns a type veth peer name eth0 netns b
    lab_do ip -n a address add "$LAB_A/24" dev eth0
    lab_do ip -n b address add "$LAB_B/24" dev eth0
    for name in a b; do
        lab_do ip -n "$name" link set eth0 up
    done
    for name in a b; do
        lab_await lab_carries "$name"
    done
}

lab_carries() {
    ip -n "$1" -o link show dev eth0 | grep -q LOWER_UP
}

# Runs a command in a namespace, with a /sys of its own.
lab_in() {
    ip netns exec "$@"
}

# lab_netem SETTING...: makes the cable worse in both directions, e.g. lab_netem loss 1%; without a
# setting it is as it was.
lab_netem() {
    local name
    for name in a b; do
        ip netns exec "$name" tc qdisc delete dev eth0 root 2>/dev/null
        [ $# -eq 0 ] || lab_do ip netns exec "$name" tc qdisc add dev eth0 root netem limit 20000 "$@"
    done
}

# Pulls the cable, and plugs it in again; lab_netem's settings stay.
lab_unplug() {
    lab_do ip -n a link set eth0 down
}

lab_plug() {
    lab_do ip -n a link set eth0 up
    lab_await lab_carries a
    lab_await lab_carries b
}
