"""A lane and a zygote that is played here."""

import os
import socket
import subprocess

import pytest

from celesta.runtime.zygote.bundle import Wanted
from celesta.runtime.zygote.wire import message_pair, receive_message, send_message
from workers.executors.lanes import Lane, LaneEnded


def test_a_lane_knows_that_its_zygote_is_gone_while_another_process_holds_the_other_end() -> None:
    clients, served = message_pair()
    lane = Lane(clients, Wanted(None, "os", ()))
    received = receive_message(served)
    assert received
    (end,) = received[1]  # Held by this process to the end, as by a child that is just being forked.
    zygote = subprocess.Popen(["sleep", "60"])
    life, log = os.pidfd_open(zygote.pid), os.memfd_create("log")
    ours, childs = message_pair()
    with clients, served, ours, childs:
        held = socket.socket(fileno=end)
        send_message(held, {"zygote": zygote.pid}, (life,))
        send_message(held, {"child": 1}, (childs.fileno(), log))
        assert lane.take(5) is None
        first = lane.take(5)
        assert first is not None
        first.close()
        send_message(held, {"child": 2}, (childs.fileno(), log))
        zygote.kill()
        zygote.wait()
        with pytest.raises(LaneEnded):
            lane.take(5)
        assert not lane.trusted
        lane.close()
        held.close()
    for descriptor in (life, log):
        os.close(descriptor)
