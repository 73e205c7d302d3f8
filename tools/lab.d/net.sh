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

# ---- RDMA devices: rxe0 and rxe1, and perhaps rxe2 and rxe3, as on two hosts ----
#
# Cable N has the ends v(2N) and v(2N+1), each with a device of the same number. Debian's kernel knows
# software RDMA only in its first network namespace, so all ends are there, and rules see to it that
# what goes from one end's address to the other's leaves by the cable. The even ends are one host's,
# the odd ones the other's; there is no way from one cable to the other.

# lab_address END
lab_address() {
    echo "10.77.$(($1 / 2)).$(($1 % 2 + 1))"
}

# lab_cross OWN OTHER: of the numbers of two ends.
lab_cross() {
    local own other
    own=$(lab_address "$1") other=$(lab_address "$2")
    lab_do ip route replace "$other" dev "v$1" src "$own" table $((101 + $1))
    lab_do ip neighbour replace "$other" dev "v$1" lladdr "$(cat "/sys/class/net/v$2/address")" nud permanent
    lab_do sysctl -qw "net.ipv4.conf.v$1.accept_local=1" "net.ipv4.conf.v$1.rp_filter=0"
}

# What goes when an end is taken down, and is to be there again when it is up.
lab_crossings() {
    local cable
    for cable in 0 1; do
        [ -e "/sys/class/net/v$((2 * cable))" ] || continue
        lab_cross $((2 * cable)) $((2 * cable + 1))
        lab_cross $((2 * cable + 1)) $((2 * cable))
    done
}

lab_rdma_devices() {
    lab_do sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv6.conf.all.disable_ipv6=1
    # The table of local addresses goes first unless it is moved.
    lab_do ip rule add lookup local priority 100
    lab_do ip rule delete lookup local priority 0
    lab_rdma_cable 0
}

# A cable and its devices; the second one after lab_rdma_devices.
lab_rdma_cable() {
    local end other
    lab_do ip link add "v$((2 * $1))" mtu 4200 type veth peer name "v$((2 * $1 + 1))" mtu 4200
    for end in $((2 * $1)) $((2 * $1 + 1)); do
        other=$((end ^ 1))
        lab_do ip address add "$(lab_address "$end")/32" dev "v$end"
        lab_do ip link set "v$end" up
        lab_do ip rule add from "$(lab_address "$end")" to "$(lab_address "$other")" iif lo \
            lookup $((101 + end)) priority 10
    done
    lab_crossings
    lab_rdma_add $((2 * $1))
    lab_rdma_add $((2 * $1 + 1))
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
    lab_await lab_rdma_ready "rxe$1"
    lab_await lab_rdma_ready "rxe$(($1 ^ 1))"
}

# A cable, the first one unless told, loses everything, both ways, and nothing again.

lab_rdma_cut() {
    local cable=${1:-0}
    lab_do tc qdisc add dev "v$((2 * cable))" root netem loss 100%
    lab_do tc qdisc add dev "v$((2 * cable + 1))" root netem loss 100%
}

lab_rdma_mend() {
    local cable=${1:-0}
    lab_do tc qdisc delete dev "v$((2 * cable))" root
    lab_do tc qdisc delete dev "v$((2 * cable + 1))" root
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
