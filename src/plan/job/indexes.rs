//! Sets of completion indexes, as a Job's status writes them: `0-2,5,7,8`.

use std::fmt;

/// Ranges, both ends inclusive, in order and apart: bounded by what is written, not by how many indexes there are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Indexes(Vec<(i64, i64)>);

impl Indexes {
    /// Those below `completions`; what can't be read says nothing.
    pub fn parse(text: &str, completions: i64) -> Self {
        let mut found: Vec<(i64, i64)> = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (Ok(first), Ok(last)) = (first.parse::<i64>(), last.parse::<i64>()) else { continue };
            let last = last.min(completions - 1);
            match found.last_mut() {
                _ if first < 0 || last < first => {}
                Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
                _ => found.push((first, last)),
            }
        }
        Self(found)
    }

    pub fn contains(&self, index: i64) -> bool {
        self.0.get(self.place(index)).is_some_and(|range| range.0 <= index)
    }

    /// The first range that does not end before `index`.
    fn place(&self, index: i64) -> usize {
        self.0.partition_point(|range| range.1 < index)
    }

    pub fn insert(&mut self, index: i64) {
        if self.contains(index) {
            return;
        }
        let place = self.place(index);
        self.0.insert(place, (index, index));
        for at in [place, place.wrapping_sub(1)] {
            if let Some([before, next]) = self.0.get_mut(at..).and_then(|rest| rest.first_chunk_mut())
                && before.1 + 1 == next.0
            {
                before.1 = next.1;
                self.0.remove(at + 1);
            }
        }
    }

    pub fn extend(&mut self, other: &Self, below: i64) {
        let others = other.0.iter().map(|(first, last)| (*first, (*last).min(below - 1)));
        self.0.extend(others.filter(|(first, last)| first <= last));
        self.0.sort_unstable();
        self.0.dedup_by(|next, before| {
            let joins = next.0 <= before.1.saturating_add(1);
            if joins {
                before.1 = before.1.max(next.1);
            }
            joins
        });
    }

    pub fn total(&self) -> i64 {
        self.0.iter().map(|(first, last)| last - first + 1).sum()
    }

    /// How many of these are in `other`.
    pub fn shared(&self, other: &Self) -> i64 {
        let pair = |a: &(i64, i64), b: &(i64, i64)| (a.1.min(b.1) - a.0.max(b.0) + 1).max(0);
        self.0.iter().map(|mine| other.0.iter().map(|theirs| pair(mine, theirs)).sum::<i64>()).sum()
    }

    /// Those below `end` that are not in it.
    pub fn missing(&self, end: i64) -> impl Iterator<Item = i64> {
        let starts = std::iter::once(0).chain(self.0.iter().map(|range| range.1 + 1));
        let ends = self.0.iter().map(|range| range.0).chain(std::iter::once(end));
        starts.zip(ends).flat_map(move |(from, to)| from..to.min(end))
    }
}

impl fmt::Display for Indexes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (first, last)) in self.0.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            match last - first {
                0 => write!(f, "{comma}{first}")?,
                1 => write!(f, "{comma}{first},{last}")?,
                _ => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_written_and_read_as_ranges() {
        let mut indexes = Indexes::parse("1,3-5,7,8,99", 9);
        assert_eq!((indexes.to_string().as_str(), indexes.total()), ("1,3-5,7,8", 6));
        assert_eq!(indexes.missing(12).collect::<Vec<_>>(), [0, 2, 6, 9, 10, 11]);
        assert!(indexes.contains(4) && !indexes.contains(6) && !indexes.contains(9));
        for index in [6, 0, 6, 11] {
            indexes.insert(index);
        }
        assert_eq!(indexes.to_string(), "0,1,3-8,11");
        assert_eq!(Indexes::parse("0-4,9", 20).shared(&indexes), 4);
        assert_eq!(Indexes::parse("x,-3,5-2,", 20), Indexes::default());
        assert_eq!(Indexes::default().missing(2).collect::<Vec<_>>(), [0, 1]);
    }
}
