"""Who owns a page of the key/value cache.

A page holds `page_size` consecutive positions of one sequence. The life of a page: `take` gives it to one
owner; `share` adds owners (samples of one request share its whole prompt pages); each owner lets go once
with `release`, and with the last of them the page is free again. A page with more than one owner must not be
written: who wants to, takes another, has it copied, and releases this one (copy-on-write; the scheduler's
`_writable` does it).

Page 0 is the null page of `sax_engine.port`: never handed out. The pool knows no sequence and no device.
"""

from collections import Counter
from collections.abc import Iterable

from sax_engine.core.requests import IntegrityError


class PagePool:
    """Reference counts of pages 1 to num_pages. Owned by the scheduler; not thread safe."""

    def __init__(self, num_pages: int) -> None:
        self.num_pages = num_pages
        self._owners = [0] * (num_pages + 1)
        self._free = list(range(num_pages, 0, -1))

    @property
    def free(self) -> int:
        """Pages that nobody owns."""
        return len(self._free)

    @property
    def used(self) -> int:
        """Pages that somebody owns."""
        return self.num_pages - len(self._free)

    def take(self) -> int:
        """Hand out a free page; admission promises that there is one, so an empty pool is a bug."""
        if not self._free:
            raise IntegrityError(f"all {self.num_pages} pages are taken although admission reserved this one")
        page = self._free.pop()
        self._owners[page] = 1
        return page

    def share(self, page: int) -> None:
        """Add an owner to a page that has one."""
        if self._owners[page] < 1:
            raise IntegrityError(f"page {page} is shared although nobody owns it")
        self._owners[page] += 1

    def release(self, pages: Iterable[int]) -> None:
        """Let go of pages, one owner each."""
        for page in pages:
            if self._owners[page] < 1:
                raise IntegrityError(f"page {page} is released although nobody owns it")
            self._owners[page] -= 1
            if not self._owners[page]:
                self._free.append(page)

    def is_shared(self, page: int) -> bool:
        """True when writing into the page would change somebody else's past."""
        return self._owners[page] > 1

    def check(self, held: Iterable[int]) -> None:
        """Raise IntegrityError unless `held`, every owner's pages one after another, explains every count."""
        counted = Counter(held)
        for page in range(1, self.num_pages + 1):
            if counted[page] != self._owners[page]:
                raise IntegrityError(
                    f"page {page} has {self._owners[page]} owners on the books, {counted[page]} in truth"
                )
        free = set(self._free)
        if len(free) != len(self._free) or any(self._owners[page] for page in free):
            raise IntegrityError("the list of free pages holds a page twice or an owned one")
        if len(free) + sum(1 for count in self._owners if count) != self.num_pages:
            raise IntegrityError("free and used pages together are not all pages")
