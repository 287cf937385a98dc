//! Which number the documents of a segment have, and back.
//!
//! Numbers grow from document to document. Where none is missing, which is the rule, two bounds say all; otherwise
//! four bytes a document are kept in memory.

use tantivy::columnar::Column;

/// The numbers of a segment's documents, in order of the documents.
#[derive(Debug, PartialEq)]
pub(crate) enum Numbers {
    /// `first`, `first + 1`, ... for so many documents.
    Dense {
        /// Number of document 0.
        first: u32,
        /// How many documents there are.
        count: u32,
    },
    /// Growing numbers.
    Listed(Vec<u32>),
}

impl Numbers {
    /// Reads the numbers of `count` documents; `None` when they are not what we wrote.
    pub(crate) fn read(column: &Column<u64>, count: u32) -> Option<Self> {
        let numbers: Option<Vec<u32>> =
            (0..count).map(|doc| u32::try_from(column.first(doc)?).ok()).collect();
        Self::new(numbers?)
    }

    /// `None` when `numbers` do not grow.
    fn new(numbers: Vec<u32>) -> Option<Self> {
        if !numbers.is_sorted_by(|one, next| one < next) {
            return None;
        }
        let count = u32::try_from(numbers.len()).ok()?;
        let (Some(first), Some(last)) = (numbers.first(), numbers.last()) else {
            return Some(Self::Listed(numbers));
        };
        let dense = last - first == count - 1;
        Some(if dense { Self::Dense { first: *first, count } } else { Self::Listed(numbers) })
    }

    /// The smallest and the largest number; `None` without documents.
    pub(crate) fn bounds(&self) -> Option<(u32, u32)> {
        match self {
            Self::Dense { first, count } => Some((*first, first + (count - 1))),
            Self::Listed(numbers) => Some((*numbers.first()?, *numbers.last()?)),
        }
    }

    /// The number of a document; of none that is not there.
    pub(crate) fn of(&self, doc: u32) -> Option<u32> {
        match self {
            Self::Dense { first, count } => (doc < *count).then(|| first + doc),
            Self::Listed(numbers) => numbers.get(doc as usize).copied(),
        }
    }

    /// Calls `each` with the document of each of `wanted`, where there is one. They grow, and none is before `from`.
    pub(crate) fn documents(
        &self,
        from: u32,
        wanted: impl Iterator<Item = u32>,
        mut each: impl FnMut(u32),
    ) {
        match self {
            Self::Dense { first, count } => wanted
                .filter_map(|number| number.checked_sub(*first))
                .filter(|doc| doc < count)
                .for_each(each),
            Self::Listed(numbers) => {
                let mut at = from;
                for number in wanted {
                    let Some(rest) = numbers.get(at as usize..) else { return };
                    #[expect(
                        clippy::cast_possible_truncation,
                        reason = "documents are counted in u32"
                    )]
                    let step = gallop(rest, number) as u32;
                    at += step;
                    if rest.get(step as usize) == Some(&number) {
                        each(at);
                    }
                }
            }
        }
    }
}

/// Place of the first of `numbers` that is not below `wanted`, found in steps that double: near ones are found fast.
pub(crate) fn gallop(numbers: &[u32], wanted: u32) -> usize {
    let mut step = 1;
    while numbers.get(step - 1).is_some_and(|number| *number < wanted) {
        step *= 2;
    }
    let from = step / 2;
    let to = step.min(numbers.len());
    from + numbers[from..to].partition_point(|number| *number < wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn documents(numbers: &Numbers, wanted: &[u32]) -> Vec<u32> {
        let mut found = Vec::new();
        numbers.documents(0, wanted.iter().copied(), |doc| found.push(doc));
        found
    }

    #[test]
    fn dense_numbers_need_no_list() {
        let numbers = Numbers::new(vec![7, 8, 9]).unwrap();
        assert_eq!(numbers, Numbers::Dense { first: 7, count: 3 });
        assert_eq!(numbers.bounds(), Some((7, 9)));
        assert_eq!(documents(&numbers, &[0, 7, 9, 10]), [0, 2]);
        assert_eq!((numbers.of(2), numbers.of(3)), (Some(9), None));
    }

    #[test]
    fn gaps_are_stepped_over() {
        let numbers = Numbers::new(vec![1, 4, 5, 90, 91, 1000]).unwrap();
        assert_eq!(numbers.bounds(), Some((1, 1000)));
        assert_eq!(documents(&numbers, &[0, 1, 2, 5, 89, 91, 1000, 2000]), [0, 2, 4, 5]);
        assert_eq!(documents(&numbers, &(0..2000).collect::<Vec<_>>()), [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn numbers_that_do_not_grow_are_none() {
        assert_eq!(Numbers::new(vec![3, 3]), None);
        assert_eq!(Numbers::new(vec![3, 2]), None);
        assert_eq!(Numbers::new(Vec::new()).unwrap().bounds(), None);
    }
}
