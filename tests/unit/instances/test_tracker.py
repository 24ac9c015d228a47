"""One prompt, told by its messages."""

from __future__ import annotations

from typing import Any

import pytest

from comfy_instances.protocol.errors import InstanceError, NodeFailed, NoOutput, OutOfMemory, PromptCancelled
from comfy_instances.protocol.history import parse_history
from comfy_instances.protocol.message_parser import parse_frame
from comfy_instances.protocol.messages import (
    Executed,
    Executing,
    ExecutionCached,
    ExecutionError,
    ExecutionInterrupted,
    ExecutionStart,
    ExecutionSuccess,
    ImageFrame,
    Message,
    NodeProgress,
    NodeState,
    ProgressState,
    StatusMessage,
    TextFrame,
)
from comfy_instances.protocol.outputs import FileRef, NodeOutput
from comfy_instances.protocol.progress import NodeStarted, NodeText, Preview, StepProgress
from comfy_instances.session.tracker import PromptTracker, classify_execution_error
from tests.support.recording import recorded_run

SAVER = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 16}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0]}},
}
TWO_SAVERS = {**SAVER, "3": {"class_type": "SaveImage", "inputs": {"images": ["1", 0]}}}
SENDER = {"1": SAVER["1"], "2": {"class_type": "SaveImageWebsocket", "inputs": {"images": ["1", 0]}}}
PICTURE = {"images": [{"filename": "a.png", "subfolder": "", "type": "output"}]}
FILE = NodeOutput("2", "images", FileRef("a.png"))


def tracker(graph: dict[str, Any]) -> PromptTracker:
    return PromptTracker("p", graph, frozenset({"SaveImageWebsocket"}), now=100.0)


def tell(graph: dict[str, Any], *messages: Message) -> PromptTracker:
    """Messages half a second apart, from 100.5 s on."""
    told = tracker(graph)
    for number, message in enumerate(messages, start=1):
        told.handle_message(message, 100.0 + number / 2)
    return told


def failed(exception_type: str, message: str = "boom") -> ExecutionError:
    return ExecutionError("p", "7", "KSampler", exception_type, message, (), None)


@pytest.mark.parametrize("name", ["happy", "cached", "resaved", "text", "video", "audio", "broken"])
def test_a_recorded_run_reads_the_same_from_the_socket_and_from_history(name: str) -> None:
    run = recorded_run(name)
    from_socket = PromptTracker(run.prompt_id, run.graph, frozenset(), now=0.0)
    for frame in run.frames:
        message = parse_frame(frame)
        if getattr(message, "prompt_id", None) == run.prompt_id:
            from_socket.handle_message(message, 1.0)
    from_history = PromptTracker(run.prompt_id, {}, frozenset(), now=0.0)
    record = parse_history(run.history, run.prompt_id)
    assert record is not None
    from_history.replay_history(record, 2.0)
    assert outcome(from_socket) == outcome(from_history)


def outcome(told: PromptTracker) -> Any:
    try:
        return told.build_result()
    except InstanceError as error:
        return type(error), error.message


def test_a_recorded_run_is_complete_without_asking() -> None:
    run = recorded_run("resaved")
    told = PromptTracker(run.prompt_id, run.graph, frozenset(), now=0.0)
    for frame in run.frames:
        told.handle_message(parse_frame(frame), 1.0)
    assert told.has_all_outputs
    result = told.build_result()
    assert result.outputs == (NodeOutput("3", "images", FileRef("recorded-b_00001_.png")),)
    assert result.cached == {"1", "2"}
    assert 0 < result.gpu_seconds < 1


def test_a_recorded_video_is_an_output() -> None:
    run = recorded_run("video")
    told = PromptTracker(run.prompt_id, run.graph, frozenset(), now=0.0)
    for frame in run.frames:
        told.handle_message(parse_frame(frame), 1.0)
    assert told.build_result().outputs == (NodeOutput("3", "images", FileRef("recorded-v_00001_.mp4")),)


def test_uses_the_servers_timestamps_if_present() -> None:
    told = tell(
        SAVER, ExecutionStart("p", 1000.0), Executed("p", "2", PICTURE), ExecutionSuccess("p", 1007.25)
    )
    assert told.build_result().gpu_seconds == 7.25


def test_our_clock_counts_where_it_does_not() -> None:
    told = tell(SAVER, ExecutionStart("p", None), Executed("p", "2", PICTURE), ExecutionSuccess("p", 1007.0))
    assert told.build_result().gpu_seconds == 1.0


def test_a_clock_that_jumps_back_charges_nothing() -> None:
    told = tell(SAVER, ExecutionStart("p", 1000.0), Executed("p", "2", PICTURE), ExecutionSuccess("p", 900.0))
    assert told.build_result().gpu_seconds == 0.0


def test_incomplete_until_every_sink_has_spoken() -> None:
    told = tell(TWO_SAVERS, Executed("p", "2", PICTURE), ExecutionSuccess("p", None))
    before = told.has_all_outputs
    told.handle_message(Executed("p", "3", PICTURE), 103.0)
    assert (before, told.has_all_outputs) == (False, True)


def test_incomplete_when_a_cached_sink_shows_nothing() -> None:
    told = tell(
        SAVER, ExecutionCached("p", ("1", "2"), None), Executed("p", "2", {}), ExecutionSuccess("p", None)
    )
    assert not told.has_all_outputs


def test_incomplete_once_the_socket_was_lost() -> None:
    told = tell(SAVER, Executed("p", "2", PICTURE), ExecutionSuccess("p", None))
    told.mark_messages_lost()
    before = told.has_all_outputs
    told.replay_history([Executed("p", "2", PICTURE), ExecutionSuccess("p", None)], 105.0)
    assert (before, told.has_all_outputs) == (False, True)
    assert told.build_result().outputs == (FILE,)


def test_duplicate_messages_change_nothing() -> None:
    story: list[Message] = [
        ExecutionStart("p", 10.0),
        ExecutionCached("p", ("1",), None),
        Executed("p", "2", PICTURE),
        ExecutionSuccess("p", 11.0),
    ]
    assert tell(SAVER, *story, *story).build_result() == tell(SAVER, *story).build_result()


def test_the_first_end_is_the_end() -> None:
    told = tell(SAVER, ExecutionInterrupted("p", "2", "SaveImage", None), ExecutionSuccess("p", None))
    with pytest.raises(PromptCancelled):
        told.build_result()


def test_success_without_an_output_is_no_output() -> None:
    with pytest.raises(NoOutput):
        tell(SAVER, ExecutionSuccess("p", None)).build_result()


def test_a_remark_is_no_output() -> None:
    with pytest.raises(NoOutput):
        tell(SAVER, Executed("p", "2", {"animated": [True]}), ExecutionSuccess("p", None)).build_result()


def test_a_blocked_branch_fails_the_prompt_though_the_server_calls_it_a_success() -> None:
    told = tell(
        TWO_SAVERS,
        failed("ExecutionBlocked", "Execution Blocked: no mask"),
        Executed("p", "2", PICTURE),
        ExecutionSuccess("p", None),
    )
    assert told.final_message == ExecutionSuccess("p", None)
    with pytest.raises(NodeFailed, match="no mask"):
        told.build_result()


def test_a_node_failure_names_node_and_exception() -> None:
    error = classify_execution_error(failed("ValueError"))
    assert isinstance(error, NodeFailed)
    assert (error.node_id, error.node_type, error.exception_type) == ("7", "KSampler", "ValueError")
    assert error.message == "node 7 (KSampler): ValueError: boom"
    assert error.kind == "node_failed"


@pytest.mark.parametrize(
    ("exception_type", "message"),
    [
        ("torch.OutOfMemoryError", "Allocation on device"),
        ("torch.cuda.OutOfMemoryError", "tried to allocate 2 GiB"),
        ("MemoryError", ""),
        ("numpy._core._exceptions._ArrayMemoryError", "Unable to allocate: not enough memory"),
        ("RuntimeError", "CUDA error: out of memory"),
        ("RuntimeError", "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"),
        ("RuntimeError", "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
def test_recognises_out_of_memory_messages(exception_type: str, message: str) -> None:
    assert isinstance(classify_execution_error(failed(exception_type, message)), OutOfMemory)


@pytest.mark.parametrize("message", ["mat1 and mat2 shapes cannot be multiplied", "shared memory is odd"])
def test_other_failures_are_not_out_of_memory(message: str) -> None:
    assert isinstance(classify_execution_error(failed("RuntimeError", message)), NodeFailed)


def test_images_of_a_sending_node_are_results() -> None:
    told = tell(
        SENDER,
        Executing("p", "2"),
        ImageFrame("image/png", b"one", "p", "2"),
        ImageFrame("image/png", b"two"),
        ExecutionSuccess("p", None),
    )
    assert told.has_all_outputs
    assert [item.data for item in told.build_result().outputs] == [b"one", b"two"]


def test_some_of_a_sending_nodes_images_are_no_result() -> None:
    told = tell(SENDER, ImageFrame("image/png", b"one", "p", "2"))
    told.mark_messages_lost()
    told.handle_message(ExecutionSuccess("p", None), 103.0)
    with pytest.raises(NoOutput):
        told.build_result()


def test_a_gap_before_the_first_message_loses_nothing() -> None:
    told = tracker(SENDER)
    told.mark_messages_lost()
    for message in (
        ExecutionStart("p", None),
        ImageFrame("image/png", b"one", "p", "2"),
        ExecutionSuccess("p", None),
    ):
        told.handle_message(message, 101.0)
    assert told.has_all_outputs
    assert [item.data for item in told.build_result().outputs] == [b"one"]


def test_history_does_not_bring_back_lost_images() -> None:
    told = tell({**SENDER, "3": TWO_SAVERS["3"]}, ImageFrame("image/png", b"one", "p", "2"))
    told.mark_messages_lost()
    told.replay_history(
        [ExecutionStart("p", None), Executed("p", "3", PICTURE), ExecutionSuccess("p", None)], 103.0
    )
    with pytest.raises(NoOutput, match="socket"):
        told.build_result()


def test_other_images_are_previews() -> None:
    told = tell(SAVER, Executing("p", "1"))
    assert told.handle_message(ImageFrame("image/jpeg", b"x"), 1.0) == [Preview("p", "1", "image/jpeg", b"x")]
    assert told.handle_message(ImageFrame("image/png", b"y", "p", "9"), 1.0) == [
        Preview("p", "9", "image/png", b"y")
    ]


def test_listeners_get_nodes_and_texts() -> None:
    told = tracker(SAVER)
    assert told.handle_message(Executing("p", "1"), 1.0) == [NodeStarted("p", "1")]
    assert told.handle_message(Executing("p", None), 1.0) == []
    assert told.handle_message(TextFrame("1", "halfway"), 1.0) == [NodeText("p", "1", "halfway")]
    assert told.handle_message(StatusMessage(1, None), 1.0) == []


def test_a_repeated_step_is_reported_once() -> None:
    told = tracker(SAVER)
    state = ProgressState("p", (NodeState("0", "finished", 1, 1), NodeState("1", "running", 3, 20)))
    assert told.handle_message(state, 1.0) == [StepProgress("p", "1", 3, 20)]
    assert told.handle_message(NodeProgress("p", "1", 3, 20), 1.0) == []
    assert told.handle_message(NodeProgress("p", "1", 4, 20), 1.0) == [StepProgress("p", "1", 4, 20)]


def test_a_node_without_steps_makes_no_progress_events() -> None:
    assert tracker(SAVER).handle_message(ProgressState("p", (NodeState("1", "running", 0, 1),)), 1.0) == []
