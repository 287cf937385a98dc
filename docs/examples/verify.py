#!/usr/bin/env python3
"""Checks a Guildhall record or receipt, with nothing but docs/protocol.md and three libraries.

    pip install blake3 pynacl cbor2
    verify.py record FILE
    verify.py receipt FILE

Prints what holds, or why not. Leaves with 0 or 1. Knows no clock and no federation: whether a delegation has expired
and whether its root is a member is for the reader to judge.
"""
import re
import sys
import cbor2
from blake3 import blake3
from nacl.signing import VerifyKey

NODE = {"admission", "acceptance", "confirmation", "node", "metrics", "demand", "attestation"}
PRODUCER = {"release", "listing", "yank"}
DAY_MS = 24 * 60 * 60 * 1000

def need(holds, why):
    if not holds:
        raise ValueError(why)

def read(data, limit=60 * 1024):
    need(len(data) <= limit, f"longer than {limit} bytes")
    value = cbor2.loads(data)
    need(cbor2.dumps(value) == data, "not the accepted form of CBOR")
    return value

def verify(key, domain, version, statement, signature):
    prefix = b"guildhall\0" + domain.encode() + b"\0" + version.to_bytes(2, "big")
    VerifyKey(key).verify(prefix + statement, signature)

def opened(signed, domain, signer):
    statement = read(signed["statement"])
    verify(statement[signer], domain, 1, signed["statement"], signed["signature"])
    return statement

def record(data):
    envelope = read(data)
    need(list(envelope) == ["header", "signature", "delegation", "body"], "not an envelope")
    header = read(envelope["header"])
    need(re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", header["type"]), "not a type of record")
    verify(header["author"], "record/" + header["type"], header["version"], envelope["header"], envelope["signature"])
    need((header["seq"] == 0) == (header.get("prev") is None), "seq and prev contradict each other")
    wrapped = read(envelope["delegation"])
    need(list(wrapped) == ["statement", "signature"], "not a delegation")
    delegation = opened(wrapped, "delegation", "root")
    need(delegation["key"] == header["author"], "the delegation is for another key")
    need(delegation["root"] == header["root"], "the delegation is by another root")
    role = "node" if header["type"] in NODE else "producer" if header["type"] in PRODUCER else delegation["role"]
    need(delegation["role"] == role, "the delegation is for another role")
    need(delegation["expires_ms"] - delegation["issued_ms"] <= 90 * DAY_MS, "the delegation lives too long")
    if envelope["body"] != "erased":
        ((kind, body),) = envelope["body"].items()
        need(kind in ("public", "sealed") and blake3(body).digest() == header["body"], "another body was signed")
    print(f"record {blake3(envelope['header']).hexdigest()}: {header['type']} version {header['version']}, "
          f"number {header['seq']} of {header['author'].hex()} for {header['root'].hex()}")

def receipt(data):
    parts = read(data, 4 * 1024 * 1024)
    run = opened(parts["run"], "receipt/run", "requester")
    jobs = [opened(job, "receipt/job", "executor") for job in parts["jobs"]]
    need(1 <= len(jobs) <= 64, "no job, or too many")
    need([blake3(job["statement"]).digest() for job in parts["jobs"]] == run["jobs"], "the run names other jobs")
    for stage, job in enumerate(jobs):
        need([job["stage"], job["run"], job["requester"]] == [stage, run["run"], run["requester"]], "a job of another run")
        need(stage == 0 or jobs[stage - 1]["output"] == job["input"], f"stage {stage} got what nobody gave")
        print(f"stage {stage}: {job['records']} records by {job['executor'].hex()}, {job['outcome']}")
    print(f"run {run['run'].hex()} for {run['requester'].hex()}")

if __name__ == "__main__":
    try:
        {"record": record, "receipt": receipt}[sys.argv[1]](open(sys.argv[2], "rb").read())
    except Exception as why:
        sys.exit(f"does not hold: {type(why).__name__}: {why}")
