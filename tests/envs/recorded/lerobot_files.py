"""Small LeRobotDatasets of both versions with videos, written with pyarrow and PyAV alone."""

import json

import av
import cv2
import numpy as np
import pyarrow
import pyarrow.parquet

FPS = 10


def picture(episode, i, size=(64, 96)):
    """A frame whose mean brightness tells which one it is."""
    image = np.full((*size, 3), 40 + 60 * (episode % 3) + 2 * i, np.uint8)
    cv2.circle(image, (8 + 3 * i, 30), 6, (250, 250, 250), -1)
    return image


def write_video(path, frames, codec="libx264", fps=FPS):
    """Write frames; the stamps begin at 0."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps)
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], "yuv420p"
        stream.options = {"crf": "10", "g": "8"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def rows_of(episode, first, length):
    joints = [[10.0 * i + episode, -i / 7] for i in range(length)]
    kind = pyarrow.list_(pyarrow.float32(), 2)
    return {
        "action": pyarrow.array(joints, kind),
        "observation.state": pyarrow.array([[b, a] for a, b in joints], kind),
        "timestamp": pyarrow.array([i / FPS for i in range(length)], pyarrow.float32()),
        "frame_index": pyarrow.array(range(length), pyarrow.int64()),
        "episode_index": pyarrow.array([episode] * length, pyarrow.int64()),
        "index": pyarrow.array(range(first, first + length), pyarrow.int64()),
        "task_index": pyarrow.array([0] * length, pyarrow.int64()),
        "next.reward": pyarrow.array([0.5] * length, pyarrow.float32()),
    }


def change_table(path, change):
    """Write a table again with the columns that `change` returns for its columns as lists."""
    table = pyarrow.parquet.read_table(path)
    for name, values in change(table.to_pydict()).items():
        at = table.schema.get_field_index(name)
        column = pyarrow.array(values, table.schema.field(at).type)
        table = table.set_column(at, table.schema.field(at), column)
    pyarrow.parquet.write_table(table, path)


def write_tasks(folder, tasks):
    """Give episodes the tasks in turn, in the files of both versions."""
    lines = [json.dumps({"task_index": i, "task": task}) for i, task in enumerate(tasks)]
    (folder / "meta" / "tasks.jsonl").write_text("\n".join(lines))
    if json.loads((folder / "meta" / "info.json").read_text())["codebase_version"] == "v3.0":
        (folder / "meta" / "tasks.jsonl").unlink()
        columns = {"task_index": range(len(tasks)), "__index_level_0__": tasks}
        table = pyarrow.table({name: pyarrow.array(one) for name, one in columns.items()})
        pyarrow.parquet.write_table(table, folder / "meta" / "tasks.parquet")
    for path in folder.glob("data/*/*.parquet"):
        change_table(
            path,
            lambda columns: {"task_index": [e % len(tasks) for e in columns["episode_index"]]},
        )


def change_info(folder, change):
    path = folder / "meta" / "info.json"
    info = json.loads(path.read_text())
    change(info)
    path.write_text(json.dumps(info))


def write_info(folder, version, cameras):
    features = {key: {"dtype": "float32", "shape": [2], "names": ["elbow", "wrist"]}
                for key in ("action", "observation.state")}  # fmt: skip
    features |= {camera: {"dtype": "video", "shape": [64, 96, 3], "names": None}
                 for camera in cameras}  # fmt: skip
    (folder / "meta").mkdir(parents=True, exist_ok=True)
    info = {"codebase_version": version, "fps": FPS, "features": features}
    (folder / "meta" / "info.json").write_text(json.dumps(info))


def write_v2(folder, lengths=(12, 9), cameras=("observation.images.front",), codec="libx264",
             video_fps=FPS):  # fmt: skip
    """Write version 2.1: a table and a video an episode."""
    write_info(folder, "v2.1", cameras)
    first = 0
    for episode, length in enumerate(lengths):
        path = folder / "data" / "chunk-000" / f"episode_{episode:06d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pyarrow.parquet.write_table(pyarrow.table(rows_of(episode, first, length)), path)
        for camera in cameras:
            frames = [picture(episode, i) for i in range(length)]
            name = f"videos/chunk-000/{camera}/episode_{episode:06d}.mp4"
            write_video(folder / name, frames, codec, video_fps)
        first += length
    return folder


def write_v3(folder, lengths=(12, 9), cameras=("observation.images.front",), codec="libx264",
             video_fps=FPS):  # fmt: skip
    """Write version 3.0: all episodes in one table and one video of each camera."""
    write_info(folder, "v3.0", cameras)
    firsts = [sum(lengths[:episode]) for episode in range(len(lengths))]
    path = folder / "data" / "chunk-000" / "file-000.parquet"
    path.parent.mkdir(parents=True)
    tables = [pyarrow.table(rows_of(e, firsts[e], n)) for e, n in enumerate(lengths)]
    pyarrow.parquet.write_table(pyarrow.concat_tables(tables), path)
    about = {"episode_index": list(range(len(lengths))), "length": list(lengths)}
    for camera in cameras:
        frames = [picture(e, i) for e, length in enumerate(lengths) for i in range(length)]
        name = f"videos/{camera}/chunk-000/file-000.mp4"
        write_video(folder / name, frames, codec, video_fps)
        about[f"videos/{camera}/chunk_index"] = [0] * len(lengths)
        about[f"videos/{camera}/file_index"] = [0] * len(lengths)
        about[f"videos/{camera}/from_timestamp"] = [first / FPS for first in firsts]
    path = folder / "meta" / "episodes" / "chunk-000" / "file-000.parquet"
    path.parent.mkdir(parents=True)
    pyarrow.parquet.write_table(pyarrow.table(about), path)
    return folder
