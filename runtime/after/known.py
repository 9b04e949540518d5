"""Who is who: people with their ids, known again by their clothes after they were out of sight or taken for another.

Owns the people and the rule by which an id is given. Knows colours and times, nothing of places.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from posert.runtime.after.clothes import clothes_apart, mixed
from posert.runtime.after.options import TrackOptions

Floats = NDArray[np.float64]
TRIAL_S = 1.0  # after his first sighting somebody may still turn out to be somebody known
FAMILIAR, FAMILIAR_S = 4, 0.3  # sightings, and seconds, after which somebody's clothes are known, or he is lost
CHANGED_S = 2.0  # colours that do not fit and are nobody else's for so long are his: he walked into the shade
NEWEST = 0.05  # share of a new sighting in a person's colours, more in the first ones


@dataclass(slots=True, eq=False)
class Person:
    """Somebody with an id: the colours of the clothes, how long the limbs are px, and when he was seen, seconds.

    Attributes:
        whole_s: when enough of him was first seen to compare his clothes. fit_s: when they last fitted.
        key: the id, 0 = not given yet.
    """

    colours: Floats
    lengths: Floats
    born_s: float
    seen_s: float
    whole_s: float = math.inf
    fit_s: float = -math.inf
    key: int = 0
    sightings: int = 1

    def see(self, colours: Floats, lengths: Floats, time_s: float, options: TrackOptions) -> None:
        """One more sighting. Colours that are not his, of somebody in front of him, are not learned."""
        known = self.colours[None], self.lengths[None]
        apart = float(clothes_apart(colours[None], lengths[None], *known, covered=0)[0, 0])
        if not self.familiar or not options.max_apart + options.margin < apart < np.inf:
            self.colours = mixed(self.colours, colours, max(NEWEST, 1 / (self.sightings + 1)))
            self.lengths = np.where(lengths > 0, lengths, self.lengths)
        self.seen_s = time_s
        self.sightings += 1

    @property
    def familiar(self) -> bool:
        """Whether his clothes have been seen for long enough to know him again."""
        return self.sightings >= FAMILIAR and self.seen_s - self.born_s >= FAMILIAR_S and bool(self.lengths.any())


class Book:
    """Everybody with an id who was seen within the last `recall` seconds."""

    def __init__(self, options: TrackOptions) -> None:
        self.options = options
        self._people: list[Person] = []
        self._next = 1

    def shift(self, by_s: float) -> None:
        """Time jumped."""
        for person in self._people:
            for name in ("born_s", "seen_s", "whole_s", "fit_s"):
                setattr(person, name, getattr(person, name) + by_s)

    def known(self, people: Sequence[Person], recent: Sequence[Floats], time_s: float) -> list[Person]:
        """Who those in sight are, of all who are known; the others get ids of their own.

        `recent`: of each in sight the colours of the last sightings, f64 [L,3].
        """
        memory, recall = self.options.memory, max(self.options.memory, self.options.recall)
        self._people = [p for p in self._people if time_s - p.seen_s <= (recall if p.familiar else memory) + 1e-3]
        out, known = list(people), [person for person in self._people if person.familiar]
        if known and people and self.options.recall:
            apart = clothes_apart(
                np.array(recent), np.array([person.lengths for person in people]),
                np.array([person.colours for person in known]), np.array([person.lengths for person in known]),
            )  # fmt: skip
            free = np.array([[time_s - one.seen_s >= FAMILIAR_S for one in known]] * len(people))
            own = [[place for place, one in enumerate(known) if one is person] for person in people]
            new = [n for n in range(len(people)) if self._new(people[n], apart[n], time_s)]
            for n in new:  # nobody whom he was seen beside; and no rival of his own
                free[n] &= [one.seen_s - people[n].born_s <= FAMILIAR_S for one in known]
                apart[n, own[n]] = np.inf
            doubted = [
                n
                for n in range(len(people))
                if n not in new and own[n] and self._doubted(people[n], recent[n], float(apart[n, own[n][0]]), time_s)
            ]
            free[:, [own[n][0] for n in doubted]] = True
            asked = new + doubted
            places = alone(np.where(free, apart, np.inf)[asked], apart[asked], self.options)
            for n, place in zip(asked, places, strict=True):
                out[n] = people[n] if place < 0 else known[place]
            for n in asked:
                if out[n] is people[n] and sum(person is people[n] for person in out) > 1:  # somebody else is
                    out[n] = Person(recent[n], people[n].lengths, time_s, time_s)
        self._note(people, out, time_s)
        return out

    def _new(self, person: Person, apart: Floats, time_s: float) -> bool:
        """Whether he came a moment ago; counted from when there was enough of him to compare."""
        if np.isfinite(apart).any():
            person.whole_s = min(person.whole_s, time_s)
        return time_s - person.whole_s <= TRIAL_S

    def _doubted(self, person: Person, recent: Floats, apart: float, time_s: float) -> bool:
        """Whether he wears clothes that are not his; after a while they are."""
        if not self.options.max_apart + self.options.margin < apart < np.inf:
            person.fit_s = time_s
        elif time_s - person.fit_s > CHANGED_S:
            person.colours, person.fit_s = mixed(person.colours, recent, 1), time_s
        return person.fit_s < time_s

    def _note(self, people: Sequence[Person], out: Sequence[Person], time_s: float) -> None:
        """Ids for those who have none; who was taken for a newcomer never was."""
        for was, now in zip(people, out, strict=True):
            now.seen_s = time_s
            if was is not now:
                now.fit_s = time_s
                if time_s - was.whole_s <= TRIAL_S:
                    self._people = [person for person in self._people if person is not was]
            if not now.key:
                now.key, self._next = self._next, self._next + 1
                self._people.append(now)


def alone(allowed: Floats, apart: Floats, options: TrackOptions) -> list[int]:
    """For each of N people the place of the one of M whom he is by his clothes, -1 for nobody.

    Nobody else may be nearly as like, and nobody else as like to that one: those in one dress stay strangers.

    Args:
        allowed, apart: f64 [N,M], grey levels; infinite where not comparable, or not to be chosen.
    """
    found = []
    for person, row in enumerate(allowed):
        place = int(row.argmin())
        rivals = np.concatenate([np.delete(apart[person], place), np.delete(apart[:, place], person)])
        sure = row[place] <= options.max_apart and rivals.min(initial=np.inf) >= row[place] + options.margin
        found.append(place if sure else -1)
    return found
