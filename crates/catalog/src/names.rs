//! Names and the rows that speak of them: `org/name` in the order of the alphabet, and by number.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use guildhall_protocol::name::{OrgName, PackageName};

use crate::row::Dictionary;

/// All names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    orgs: Dictionary<OrgName>,
    numbers: BTreeMap<(u32, Arc<str>), u32>,
    list: Vec<Named>,
}

#[derive(Clone, Debug)]
struct Named {
    org: u32,
    name: Arc<str>,
    /// Live rows, in order of their versions, then of their numbers.
    rows: Vec<u32>,
}

impl Names {
    /// The number of a name, a new one if need be.
    pub(crate) fn number(&mut self, org: &OrgName, name: &str) -> u32 {
        let org = self.orgs.number(org);
        let key = (org, Arc::from(name));
        if let Some(number) = self.numbers.get(&key) {
            return *number;
        }
        let number = u32::try_from(self.list.len()).unwrap_or(u32::MAX);
        self.list.push(Named { org, name: Arc::clone(&key.1), rows: Vec::new() });
        self.numbers.insert(key, number);
        number
    }

    /// The number that a name has.
    pub(crate) fn find(&self, org: &OrgName, name: &PackageName) -> Option<u32> {
        let org = self.orgs.find(org)?;
        self.numbers.get(&(org, Arc::from(name.as_str()))).copied()
    }

    /// The org's and the package's name.
    pub(crate) fn get(&self, number: u32) -> Option<(&OrgName, &str)> {
        let named = self.list.get(usize::try_from(number).ok()?)?;
        Some((self.orgs.value(named.org)?, &named.name))
    }

    /// Live rows of a name, the lowest version first.
    pub(crate) fn rows(&self, number: u32) -> &[u32] {
        let place = usize::try_from(number).unwrap_or(usize::MAX);
        self.list.get(place).map_or(&[], |named| named.rows.as_slice())
    }

    /// Puts a row at its place in the order of versions.
    pub(crate) fn add_row(&mut self, number: u32, place: usize, row: u32) {
        if let Some(named) = self.at(number) {
            named.rows.insert(place.min(named.rows.len()), row);
        }
    }

    pub(crate) fn remove_row(&mut self, number: u32, row: u32) {
        if let Some(named) = self.at(number) {
            named.rows.retain(|other| *other != row);
        }
    }

    fn at(&mut self, number: u32) -> Option<&mut Named> {
        self.list.get_mut(usize::try_from(number).ok()?)
    }

    /// Orgs' names by number, and each name: its org's number and the package's name.
    pub(crate) fn save(&self) -> (Vec<OrgName>, Vec<(u32, &str)>) {
        let names = self.list.iter().map(|named| (named.org, &*named.name));
        (self.orgs.values().to_vec(), names.collect())
    }

    pub(crate) fn fill(&mut self, orgs: Vec<OrgName>, names: Vec<(u32, String)>) {
        self.orgs.fill(orgs);
        let named = |(org, name): (u32, String)| Named { org, name: name.into(), rows: Vec::new() };
        self.list = names.into_iter().map(named).collect();
        let keys = self.list.iter().map(|named| (named.org, Arc::clone(&named.name)));
        self.numbers = keys.zip(0..).collect();
    }

    /// Numbers of names that have a row, in order of org and name.
    pub(crate) fn in_order(&self) -> impl Iterator<Item = u32> + '_ {
        let mut orgs: Vec<(&OrgName, u32)> = self.orgs.values().iter().zip(0..).collect();
        orgs.sort_unstable();
        orgs.into_iter().flat_map(move |(_, org)| {
            let from = (Bound::Included((org, Arc::from(""))), Bound::Unbounded);
            self.numbers
                .range(from)
                .take_while(move |((other, _), _)| *other == org)
                .map(|(_, number)| *number)
                .filter(|number| !self.rows(*number).is_empty())
        })
    }

    /// The org's and package's name of every name that has a row, in any order.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.list
            .iter()
            .filter(|named| !named.rows.is_empty())
            .filter_map(|named| Some((self.orgs.value(named.org)?.as_str(), &*named.name)))
    }
}
