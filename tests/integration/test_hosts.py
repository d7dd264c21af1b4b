"""Two hosts that share nothing but a file system: mpirun over both gives the bits of one."""

import unittest

from cluster import Hosts, call
from support import LOCKSTEP, SameRunTest


class TwoHosts(SameRunTest):
    same = ("weights_hash", "loss")

    def test_the_same_bits_as_on_one_host(self):
        hosts = Hosts()
        self.addCleanup(hosts.close)
        for ranks_each in (1, 2):  # alone on its host, or with another to share memory with
            with self.subTest(ranks_each=ranks_each):
                self.train_on_two_hosts(hosts, ranks_each)

    def train_on_two_hosts(self, hosts, ranks_each):
        # How mpirun reaches the second host: drops the options, takes the host, runs the rest there.
        agent = self.folder / "agent"
        agent.write_text('#!/bin/sh\nwhile [ "${1#-}" != "$1" ]; do shift; done\nshift\n'
                         f'exec nsenter --net=/run/netns/{hosts.spaces["node2"]} unshare --uts --mount --ipc '
                         'sh -c "hostname node2; mount -t tmpfs tmpfs /dev/shm; $*"\n')
        agent.chmod(0o755)
        folder = self.folder / f"two-{ranks_each}"
        network = f"{hosts.network}.0/24"
        line = ["mpirun", "--allow-run-as-root", "--bind-to", "none", "--mca", "plm", "rsh", "--mca", "plm_rsh_agent", agent,
                "--mca", "oob_tcp_if_include", network, "--mca", "btl_tcp_if_include", network, "--mca", "btl", "tcp,self",
                "--host", ",".join(f"{hosts.address(name)}:{ranks_each}" for name in hosts.NAMES), "-n", 2 * ranks_each,
                LOCKSTEP, "train", self.recipe, "--run", folder]
        call(*hosts.on("node1", *line))
        self.assert_same_run(folder)
        where = [(folder / "log" / f"rank-{rank:05d}.log").read_text().split(" on ")[1].split(",")[0] for rank in range(2 * ranks_each)]
        self.assertEqual(where, ["node1"] * ranks_each + ["node2"] * ranks_each)


if __name__ == "__main__":
    unittest.main()
