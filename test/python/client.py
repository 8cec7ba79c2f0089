"""A client of tape.v1 in another language, from nothing but the proto: begin, decide, effect, complete, watch.

    /usr/bin/python3 client.py HOST:PORT FOLDER_OF_GENERATED_CODE
"""

import json
import sys

import grpc

sys.path.insert(0, sys.argv[2])
from tape.v1 import tape_pb2 as pb  # noqa: E402
from tape.v1 import tape_pb2_grpc as rpc  # noqa: E402

TIMEOUT = 10


def main() -> None:
    with grpc.insecure_channel(sys.argv[1]) as channel:
        tape = rpc.TapeStub(channel)
        run = tape.BeginRun(
            pb.BeginRunRequest(app_name="python", invocation_id="1", lease_owner="py", lease_ttl_ms=60_000),
            timeout=TIMEOUT,
        )
        assert run.run_id and not run.resumed and run.status == pb.RUN_STATUS_RUNNING, run
        watched = tape.SubscribeRun(pb.SubscribeRunRequest(run_id=run.run_id), timeout=TIMEOUT)

        decision = tape.RecordDecision(
            pb.RecordDecisionRequest(run_id=run.run_id, decision_index=0, model="m", response_json='{"n":1.0,"s":"é"}'),
            timeout=TIMEOUT,
        )
        assert decision.seq == 2 and decision.response_json == '{"n":1.0,"s":"é"}', decision

        begin = pb.BeginEffectRequest(run_id=run.run_id, tool_name="pay", request_json='{"amount":100}')
        effect = tape.BeginEffect(begin, timeout=TIMEOUT)
        assert effect.idempotency_key == f"{run.run_id}/decision-0/pay/0", effect
        done = tape.CompleteEffect(
            pb.CompleteEffectRequest(
                run_id=run.run_id,
                idempotency_key=effect.idempotency_key,
                status=pb.EFFECT_STATUS_CONFIRMED,
                response_json='{"wire":"w1"}',
            ),
            timeout=TIMEOUT,
        )
        assert done.status == pb.EFFECT_STATUS_CONFIRMED, done
        again = tape.BeginEffect(begin, timeout=TIMEOUT)
        assert (again.status, again.response_json) == (pb.EFFECT_STATUS_CONFIRMED, '{"wire":"w1"}'), again

        try:
            tape.GetRun(pb.GetRunRequest(run_id="nowhere"), timeout=TIMEOUT)
            raise AssertionError("an unknown run was found")
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.NOT_FOUND, error
        try:
            tape.BeginRun(pb.BeginRunRequest(app_name="a\0b"), timeout=TIMEOUT)
            raise AssertionError("a U+0000 was taken")
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, error

        tape.EndRun(pb.EndRunRequest(run_id=run.run_id, status=pb.RUN_STATUS_TERMINAL), timeout=TIMEOUT)
        entries = []
        for entry in watched:
            entries.append({"seq": entry.seq, "subject": entry.subject, "payload": json.loads(entry.payload_json)})
            if entry.subject.startswith("/tape/run/terminal/"):
                watched.cancel()
                break
        print(json.dumps({"run_id": run.run_id, "entries": entries}))


main()
