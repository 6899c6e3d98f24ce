"""Hosts for measurements: network namespaces with a veth pair each, on one bridge. Needs root, iptables, iproute2 and util-linux."""

import ctypes
import os
import pwd
import subprocess
import time


def sh(command):
    subprocess.run(command, shell=True, check=True)


def busy():
    """How long the processors have worked, and how long they have existed, since the machine began, in ticks."""
    with open("/proc/stat") as file:
        ticks = [int(field) for field in file.readline().split()[1:9]]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)


class Hosts:
    """Those of cluster NUMBER, 1 to 9, by name. Programs run as the owner of FOLDER, which is their home."""

    def __init__(self, number, folder, names):
        self.number, self.names = number, list(names)
        self.owner, self.folder = pwd.getpwuid(os.stat(folder).st_uid).pw_name, os.path.abspath(folder)

    def address(self, name):
        return f"10.99.{self.number}.{1 + self.names.index(name)}"

    def namespace(self, name):
        return f"h{self.number}{name}"

    def on(self, name):
        """How a command begins that runs on this host."""
        return ["ip", "netns", "exec", self.namespace(name), "setpriv", "--reuid", self.owner, "--regid", self.owner, "--init-groups",
                "env", f"HOME={self.folder}"]

    def enter(self, name):
        """Brings the calling thread, and no other, to this host."""
        with open(f"/var/run/netns/{self.namespace(name)}") as file:
            if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), 0):
                raise OSError(ctypes.get_errno(), "setns")

    def processes(self, name):
        pids = subprocess.run(["ip", "netns", "pids", self.namespace(name)], capture_output=True, text=True).stdout
        return map(int, pids.split())

    def make(self):
        self.remove()
        # Once the bridge is gone nothing of this leaves the machine, whoever still asks.
        sh("ip route replace unreachable 10.99.0.0/16")
        bridge = f"hb{self.number}"
        # A bridge without an address of its own takes that of a host, and changes it when hosts come and go.
        sh(f"ip link add {bridge} type bridge && ip link set {bridge} address 02:99:00:00:00:0{self.number} && "
           f"ip address add 10.99.{self.number}.254/24 dev {bridge} && ip link set {bridge} up")
        for name in self.names:
            namespace = self.namespace(name)
            sh(f"ip netns add {namespace} && ip link add {namespace} type veth peer name eth0 netns {namespace} && "
               f"ip link set {namespace} master {bridge} up && ip -n {namespace} address add {self.address(name)}/24 dev eth0 && "
               f"ip -n {namespace} link set eth0 up && ip -n {namespace} link set lo up")

    def remove(self):
        """Kills what runs on them, too."""
        for name in self.names:
            namespace = self.namespace(name)
            subprocess.run(f"ip netns pids {namespace} 2>/dev/null | xargs -r kill -9; ip netns delete {namespace} 2>/dev/null; "
                           # A namespace lives on for as long as its sockets do.
                           f"ip link delete {namespace} 2>/dev/null", shell=True)
        subprocess.run(["ip", "link", "delete", f"hb{self.number}"], stderr=subprocess.DEVNULL)
        time.sleep(1)

    def cut_off(self, name, action="-A"):
        """Drops what this host sends and gets; its loopback goes on."""
        sh(f"ip netns exec {self.namespace(name)} sh -c 'iptables {action} INPUT -i eth0 -j DROP && iptables {action} OUTPUT -o eth0 -j DROP'")

    def join(self, name):
        """Ends that."""
        self.cut_off(name, "-D")
