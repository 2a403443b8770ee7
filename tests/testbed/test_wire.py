"""Messages: what is sent is what comes, and what is not exactly as it says it is is refused."""

import json

import numpy as np
import pytest

from mecpart.testbed.wire import DTYPES, MOST_HEADER, VERSION, new_secret, packed, read_secret, unpacked


def header(**fields):
    return json.dumps({"mecpart": VERSION, "kind": "task", "tensors": []} | fields).encode()


class TestThereAndBack:
    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("shape", [(), (0,), (3,), (1, 2, 3)])
    def test_tensors(self, dtype, shape):
        tensor = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
        (back,) = unpacked([bytes(frame) for frame in packed("task", [tensor])]).tensors
        assert (back.dtype, back.shape) == (tensor.dtype, shape)
        np.testing.assert_array_equal(back, tensor)

    def test_what_does_not_lie_in_a_row(self):
        tensor = np.arange(12, dtype=np.float32).reshape(3, 4)
        for given in (tensor.T, tensor[::2], tensor[:, ::-1]):
            (back,) = unpacked(packed("task", [given])).tensors
            np.testing.assert_array_equal(back, given)

    def test_fields(self):
        message = unpacked(packed("run", tasks=60, name="näher", route=[[0, 0, 1, None]]))
        assert (message.kind, message.get("tasks", int), message.get("name", str)) == ("run", 60, "näher")
        assert message.get("route", list) == [[0, 0, 1, None]]

    def test_what_is_sent_is_checked_too(self):
        for wrong in (np.array(["a"]), np.array([None]), np.array(["2026"], "M8[D]")):
            with pytest.raises(ValueError, match="tensors must be of one of"):
                packed("task", [wrong])
        with pytest.raises(ValueError, match="not JSON compliant"):
            packed("task", seconds=float("nan"))


class TestRefused:
    @pytest.mark.parametrize(
        ("frames", "message"),
        [
            ([], "header is not of 1 to"),
            ([b" " * (MOST_HEADER + 1)], "header is not of 1 to"),
            ([b"GET / HTTP/1.1"], "header is no JSON"),
            ([b"\xff\xfe"], "header is no JSON"),
            ([b"[" * 100_000], "header is no JSON"),
            ([b'{"mecpart": NaN}'], "header is no JSON: NaN"),
            ([b"[]"], "none of mecpart's"),
            ([b"{}"], "none of mecpart's"),
            ([header(mecpart=VERSION + 1)], f"of version {VERSION + 1}; this is version {VERSION}"),
            ([header(kind=None)], "does not say what it is"),
            ([header(tensors=3)], "does not say what it is, or which tensors"),
            ([header(tensors=[["float32", [2]]])], "cut short: 1 tensors announced, 0 came"),
            ([header(), b"more"], "0 tensors announced, 1 came"),
            ([header(tensors=[["float32", [2]]]), b"1234567"], r"tensor of shape \(2,\) has 7 bytes, not 8"),
            ([header(tensors=[["float32", [2**30, 2**30, 2**30]]]), b"1234"], "has 4 bytes, not"),
            ([header(tensors=[["float32", [-1, -2]]]), b"12345678"], "with a tensor of shape"),
            ([header(tensors=[["float32", [2.0]]]), b"12345678"], "with a tensor of shape"),
            ([header(tensors=[["float32", [True]]]), b"1234"], "with a tensor of shape"),
            ([header(tensors=[["float32", [1] * 17]]), b"1234"], "tensor that is not allowed"),
            ([header(tensors=[["object", [1]]]), b"12345678"], "tensor that is not allowed"),
            ([header(tensors=[["O", [1]]]), b"12345678"], "tensor that is not allowed"),
            ([header(tensors=[[["float32"], [1]]]), b"1234"], "tensor that is not allowed"),
            ([header(tensors=["float32"]), b"1234"], "tensor that is not allowed"),
        ],
    )
    def test_messages(self, frames, message):
        with pytest.raises(ValueError, match=message):
            unpacked(frames)

    def test_fields(self):
        message = unpacked(packed("run", tasks=True, name=3))
        for name, kind in (("tasks", int), ("name", str), ("route", list)):
            with pytest.raises(ValueError, match=f"'{name}' in the header of a message 'run' is"):
                message.get(name, kind)


class TestSecret:
    def test_is_written_once_and_read_by_its_owner_alone(self, tmp_path):
        path = new_secret(tmp_path / "key")
        assert path.stat().st_mode & 0o777 == 0o600
        public, secret = read_secret(path)
        assert len(public) == len(secret) == 40
        with pytest.raises(FileExistsError):
            new_secret(path)
        assert read_secret(path) == (public, secret)
        assert read_secret(new_secret(tmp_path / "other")) != (public, secret)

    def test_refused(self, tmp_path):
        (tmp_path / "short").write_text("abc\n")
        for name in ("short", "nothing"):
            with pytest.raises(ValueError, match="secret must be a file that `mecpart node --new-secret` has written"):
                read_secret(tmp_path / name)
