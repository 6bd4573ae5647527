"""``TransportConformance``: what every transport must do, to be inherited with a fixture ``transport``.

A subclass also says where on the far side it may work (``folder``, an absolute path without anything in it).
"""

from __future__ import annotations

import contextlib
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from hpcgate.errors import CommandTimeout, OutputTooLarge, TransportError
from hpcgate.transport.base import Transport

AWKWARD = ("", " ", "two words", "it's", '"', "$HOME", "`id`", "a;b", "*", "\\", "new\nline", "-n", "żółć 漢字")


class TransportConformance:
    """The promises of ``transport.base.Transport``."""

    # --- commands

    def test_streams_and_status(self, transport: Transport):
        result = transport.run(["sh", "-c", "printf out; printf err >&2; exit 7"])
        assert (result.exit_status, result.stdout, result.stderr) == (7, b"out", b"err")

    def test_arguments_are_not_interpreted(self, transport: Transport):
        result = transport.run(["printf", "%s\\0", *AWKWARD])
        assert result.out.split("\0")[:-1] == list(AWKWARD)

    def test_stdin_is_carried_and_ends(self, transport: Transport):
        data = bytes(range(256)) * 4096
        assert transport.run(["cat"], stdin=data).stdout == data
        assert transport.run(["cat"]).stdout == b""

    def test_a_command_need_not_read_its_stdin(self, transport: Transport):
        assert transport.run(["true"], stdin=b"x" * (1 << 20)).exit_status == 0

    def test_environment_is_added(self, transport: Transport):
        result = transport.run(["sh", "-c", 'printf %s "$WORD"; test -n "$PATH"'], environment={"WORD": "it's $so"})
        assert (result.exit_status, result.out) == (0, "it's $so")

    def test_a_signal_is_a_negative_status(self, transport: Transport):
        assert transport.run(["sh", "-c", "kill -9 $$"]).exit_status == -9

    def test_both_streams_at_full_size(self, transport: Transport):
        code = "head -c 300000 /dev/zero; head -c 300000 /dev/zero >&2"
        result = transport.run(["sh", "-c", code])
        assert (len(result.stdout), len(result.stderr)) == (300_000, 300_000)

    def test_a_command_that_runs_too_long_is_ended(self, transport: Transport, folder: str):
        code = f"sleep 0.7; touch '{folder}/late' & sleep 30"
        began = time.monotonic()
        with pytest.raises(CommandTimeout, match=r"'sh' did not end within 0\.2 s"):
            transport.run(["sh", "-c", code], timeout_s=0.2)
        assert time.monotonic() - began < 10
        transport.run(["sleep", "1"])
        assert transport.stat(f"{folder}/late") is None, "a child of the command went on"

    def test_too_much_output_is_refused(self, transport: Transport):
        with pytest.raises(OutputTooLarge, match="'yes' printed more than 10000 bytes"):
            transport.run(["yes"], max_output=10_000)
        assert len(transport.run(["head", "-c", "10000", "/dev/zero"], max_output=10_000).stdout) == 10_000

    def test_what_cannot_be_started_is_an_error(self, transport: Transport):
        with contextlib.suppress(TransportError):
            # Where a shell stands between, its answer is all there is.
            assert transport.run(["/no/such/program"]).exit_status == 127

    def test_many_threads_at_once(self, transport: Transport):
        with ThreadPoolExecutor(8) as pool:
            results = list(pool.map(lambda n: transport.run(["printf", "%s", str(n)]).out, range(24)))
        assert results == [str(n) for n in range(24)]

    # --- files

    def test_write_and_read_back(self, transport: Transport, folder: str):
        path = f"{folder}/a name with 'quotes' $and ż"
        transport.write(path, b"first")
        transport.write(path, b"second time")
        chunk = transport.read(path)
        assert (chunk.data, chunk.offset, chunk.size) == (b"second time", 0, 11)
        info = transport.stat(path)
        assert info is not None
        assert (info.name, info.size, info.is_dir, info.is_link, info.mode) == (
            path.split("/")[-1],
            11,
            False,
            False,
            0o600,
        )
        assert [entry.name for entry in transport.list(folder)] == [info.name], "nothing else was left there"

    def test_write_gives_the_mode(self, transport: Transport, folder: str):
        transport.write(f"{folder}/script", b"#!/bin/sh\n", mode=0o750)
        info = transport.stat(f"{folder}/script")
        assert info is not None
        assert info.mode == 0o750

    def test_a_reader_never_sees_a_part(self, transport: Transport, folder: str):
        path = f"{folder}/file"
        sizes = (100_000, 200_000)
        transport.write(path, b"x" * sizes[0])
        with ThreadPoolExecutor(1) as pool:
            writing = pool.submit(lambda: [transport.write(path, b"x" * sizes[n % 2]) for n in range(30)])
            seen = {len(transport.read(path).data)}
            while not writing.done():
                seen.add(len(transport.read(path).data))
            writing.result()
        assert seen <= set(sizes)

    def test_write_where_it_cannot(self, transport: Transport, folder: str):
        with pytest.raises(TransportError, match="no/such/folder/file"):
            transport.write(f"{folder}/no/such/folder/file", b"")

    @pytest.mark.parametrize(
        ("offset", "length", "data"),
        [(0, 3, b"abc"), (3, None, b"defg"), (5, 100, b"fg"), (7, 1, b""), (100, None, b""), (2, 0, b"")],
    )
    def test_parts_of_a_file(self, transport: Transport, folder: str, offset: int, length: int | None, data: bytes):
        transport.write(f"{folder}/file", b"abcdefg")
        chunk = transport.read(f"{folder}/file", offset=offset, length=length)
        assert (chunk.data, chunk.offset, chunk.size) == (data, offset, 7)

    def test_what_is_not_there(self, transport: Transport, folder: str):
        with pytest.raises(FileNotFoundError):
            transport.read(f"{folder}/nothing")
        with pytest.raises(FileNotFoundError):
            transport.list(f"{folder}/nothing")
        assert transport.stat(f"{folder}/nothing") is None
        assert transport.stat(f"{folder}/nothing/below") is None
        transport.remove(f"{folder}/nothing")

    def test_what_is_no_file(self, transport: Transport, folder: str):
        with pytest.raises(TransportError, match="cannot be read"):
            transport.read(folder)
        transport.write(f"{folder}/file", b"")
        with pytest.raises(TransportError, match="cannot be listed"):
            transport.list(f"{folder}/file")
        with pytest.raises(TransportError, match="cannot be made"):
            transport.mkdir(f"{folder}/file")

    def test_folders(self, transport: Transport, folder: str):
        transport.mkdir(f"{folder}/one/two/three")
        transport.mkdir(f"{folder}/one/two")
        for path in ("one", "one/two", "one/two/three"):
            info = transport.stat(f"{folder}/{path}")
            assert info is not None
            assert (info.is_dir, info.mode) == (True, 0o700)
        transport.write(f"{folder}/one/b", b"12")
        transport.write(f"{folder}/one/a", b"")
        assert [(entry.name, entry.is_dir) for entry in transport.list(f"{folder}/one")] == [
            ("a", False),
            ("b", False),
            ("two", True),
        ]
        transport.remove(f"{folder}/one")
        assert transport.stat(f"{folder}/one") is None

    def test_no_link_leads_out_of_a_folder(self, transport: Transport, folder: str):
        inside = f"{folder}/job"
        transport.mkdir(f"{inside}/work/sub")
        transport.mkdir(f"{folder}/other")
        transport.write(f"{inside}/work/sub/file", b"mine")
        transport.write(f"{folder}/other/file", b"not mine")
        for link, target in (("file", "other/file"), ("dir", "other"), ("back", "job/work/sub")):
            transport.run(["ln", "-s", f"{folder}/{target}", f"{inside}/work/{link}"])
        transport.run(["ln", "-s", inside, f"{folder}/alias"])
        assert transport.read(f"{inside}/work/sub/file", within=inside).data == b"mine"
        assert transport.read(f"{inside}/work/sub/file", within=f"{inside}/work/sub").data == b"mine"
        assert [info.name for info in transport.list(f"{inside}/work/sub", within=inside)] == ["file"]
        assert [info.name for info in transport.list(inside, within=inside)] == ["work"]
        with pytest.raises(FileNotFoundError):
            transport.read(f"{inside}/work/none", within=inside)
        for path in ("job/work/file", "job/work/dir/file", "job/work/back/file"):
            assert transport.read(f"{folder}/{path}").data
            with pytest.raises(TransportError) as caught:
                transport.read(f"{folder}/{path}", within=inside)
            assert not caught.value.transient
        for path, within in (("job/work/dir", inside), ("alias/work", f"{folder}/alias"), ("alias", f"{folder}/alias")):
            assert transport.list(f"{folder}/{path}")
            with pytest.raises(TransportError) as caught:
                transport.list(f"{folder}/{path}", within=within)
            assert not caught.value.transient

    def test_nothing_is_written_made_or_removed_through_a_link(self, transport: Transport, folder: str):
        inside = f"{folder}/job"
        transport.mkdir(f"{inside}/work")
        transport.mkdir(f"{folder}/other/sub")
        transport.write(f"{folder}/other/file", b"kept")
        transport.run(["ln", "-s", f"{folder}/other", f"{inside}/work/dir"])
        transport.run(["ln", "-s", f"{folder}/other/file", f"{inside}/work/file"])
        transport.run(["ln", "-s", inside, f"{folder}/alias"])
        for path, within in (("job/work/dir/new", inside), ("alias/work/new", f"{folder}/alias"), ("new", inside)):
            for act in (
                lambda path=path, within=within: transport.write(f"{folder}/{path}", b"x", within=within),
                lambda path=path, within=within: transport.mkdir(f"{folder}/{path}", within=within),
            ):
                with pytest.raises(TransportError) as caught:
                    act()
                assert not caught.value.transient
        with pytest.raises(TransportError):
            transport.remove(f"{inside}/work/dir/file", within=inside)
        assert [info.name for info in transport.list(f"{folder}/other")] == ["file", "sub"]
        transport.write(f"{inside}/work/file", b"mine", within=inside)
        assert transport.read(f"{folder}/other/file").data == b"kept", "the link was replaced"
        assert transport.read(f"{inside}/work/file", within=inside).data == b"mine"
        transport.remove(f"{inside}/work/dir", within=inside)
        assert transport.read(f"{folder}/other/file").data == b"kept", "the link was removed"
        transport.mkdir(f"{inside}/work/a/b", within=inside)
        transport.mkdir(f"{inside}/work/a/b", within=inside)
        transport.write(f"{inside}/work/a/b/c", b"", within=inside)
        info = transport.stat(f"{inside}/work/a/b")
        assert info is not None
        assert info.mode == 0o700
        transport.remove(f"{inside}/work/a", within=inside)
        transport.remove(f"{inside}/work/a", within=inside)
        assert [info.name for info in transport.list(f"{inside}/work")] == ["file"]

    def test_links_are_not_followed(self, transport: Transport, folder: str):
        transport.mkdir(f"{folder}/kept")
        transport.write(f"{folder}/kept/file", b"")
        transport.mkdir(f"{folder}/gone")
        transport.run(["ln", "-s", f"{folder}/kept", f"{folder}/gone/link"])
        info = transport.stat(f"{folder}/gone/link")
        assert info is not None
        assert (info.is_link, info.is_dir) == (True, False)
        transport.remove(f"{folder}/gone")
        transport.run(["ln", "-s", f"{folder}/kept", f"{folder}/link"])
        transport.remove(f"{folder}/link")
        assert transport.stat(f"{folder}/kept/file") is not None

    def test_the_home_folder(self, transport: Transport):
        home = transport.run(["sh", "-c", "cd && pwd"]).out.strip()
        assert [entry.name for entry in transport.list("~/")] == [entry.name for entry in transport.list(home)]
