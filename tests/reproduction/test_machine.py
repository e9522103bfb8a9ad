"""What a result was computed on."""

import torch

from ldns_ray.config import Hardware
from ldns_ray.reproduction import machine


def test_processor_workers_and_gpus_are_told(monkeypatch, tmp_path):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor : 0\nmodel name\t: Abacus 9000\nprocessor : 1\nmodel name\t: x\n")
    monkeypatch.setattr(machine, "CPUINFO", cpuinfo)
    monkeypatch.setattr(machine, "cores", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert machine.machine(Hardware(workers=0)) == "2 cores of Abacus 9000, in one process"
    assert machine.machine(Hardware(workers=1)) == "2 cores of Abacus 9000, 1 Ray worker"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "GPU 1")
    told = machine.machine(Hardware(workers=2, gpus_per_worker=0.5))
    assert told == "2 cores of Abacus 9000, GPU 1, 2 Ray workers with 0.5 GPU each"


def test_without_a_name_the_architecture_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "nowhere")
    monkeypatch.setattr(machine.platform, "machine", lambda: "arm64")
    assert machine.processor() == "arm64"
