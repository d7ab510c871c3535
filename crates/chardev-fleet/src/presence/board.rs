//! What a host has to write into the bucket: each page that has changed, and all of them again
//! before they are forgotten.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::record::PAGES;
use super::{Console, Host, Key, PAGE, Page};

/// Something to be written.
#[derive(Debug, PartialEq, Eq)]
pub struct Write {
    /// Where.
    pub key: Key,
    /// What; `None` if the key is to be deleted.
    pub value: Option<String>,
    revision: u64,
}

/// The writer's side: what is in the bucket, and what should be.
///
/// A console stays on its page for as long as it is there, so that what happens to it concerns one
/// key. How much it has printed is no change, and is written with whatever else is.
#[derive(Debug)]
pub struct Board {
    about: Host,
    places: Vec<Option<Console>>,
    by_name: HashMap<String, usize>,
    free: BTreeSet<usize>,
    host: Paper,
    /// Also those that are to be deleted, at the end.
    pages: Vec<Paper>,
}

/// How far the value of a key is.
#[derive(Clone, Debug, Default)]
struct Paper {
    revision: u64,
    /// Which revision the bucket has, as far as is known.
    written: Option<u64>,
    is_on_its_way: bool,
}

impl Board {
    /// One of a host without consoles, nothing of which is written. How many pages and consoles
    /// there are is counted here.
    pub fn new(about: Host) -> Self {
        Board {
            about,
            places: Vec::new(),
            by_name: HashMap::new(),
            free: BTreeSet::new(),
            host: Paper::default(),
            pages: Vec::new(),
        }
    }

    /// These are all consoles there are now, each as if it were so since now. Whoever comes when
    /// all places are taken, a million of them, is left out.
    pub fn update(&mut self, all: Vec<Console>) {
        let names: HashSet<&str> = all.iter().map(|it| it.name.as_str()).collect();
        let gone = self
            .by_name
            .keys()
            .filter(|it| !names.contains(it.as_str()));
        for name in gone.cloned().collect::<Vec<_>>() {
            self.remove(&name);
        }
        for console in all {
            self.place(console);
        }
        while self.places.last().is_some_and(Option::is_none) {
            self.places.pop();
            self.free.remove(&self.places.len());
        }
    }

    /// All of it is to be written again.
    pub fn refresh(&mut self) {
        let count = self.count();
        let pages = self.pages.iter_mut().take(count);
        for paper in pages.chain([&mut self.host]) {
            paper.written = None;
        }
    }

    /// What was sent and not answered is lost.
    pub fn retry_all(&mut self) {
        for paper in self.pages.iter_mut().chain([&mut self.host]) {
            paper.is_on_its_way = false;
        }
    }

    /// What is to be written next, the host's own key last; `None` if nothing is. Whoever asks has
    /// to [tell](Board::hear) what comes of it.
    pub fn next_write(&mut self) -> Option<Write> {
        if let Some(number) = self.pages.iter().position(Paper::is_due) {
            let value = (number < self.count()).then(|| self.page(number).write());
            let paper = &mut self.pages[number];
            paper.is_on_its_way = true;
            return Some(Write {
                key: Key::Page(number),
                value,
                revision: paper.revision,
            });
        }
        self.host.is_due().then(|| {
            self.host.is_on_its_way = true;
            Write {
                key: Key::Host,
                value: Some(self.about().write()),
                revision: self.host.revision,
            }
        })
    }

    /// Whether something was written.
    pub fn hear(&mut self, write: &Write, is_written: bool) {
        let paper = match write.key {
            Key::Host => Some(&mut self.host),
            Key::Page(number) => self.pages.get_mut(number),
        };
        if let Some(paper) = paper {
            paper.is_on_its_way = false;
            if is_written {
                paper.written = Some(write.revision);
            }
        }
        self.drop_deleted();
    }

    /// On how many pages something may be by now.
    pub fn pages(&self) -> usize {
        self.pages.len()
    }

    fn count(&self) -> usize {
        self.places.len().div_ceil(PAGE)
    }

    fn about(&self) -> Host {
        Host {
            pages: self.count(),
            consoles: self.by_name.len() as u64,
            ..self.about.clone()
        }
    }

    fn page(&self, number: usize) -> Page {
        let places = self.places.iter().skip(number * PAGE).take(PAGE);
        Page {
            run: self.about.run,
            consoles: places.flatten().cloned().collect(),
        }
    }

    fn remove(&mut self, name: &str) {
        if let Some(at) = self.by_name.remove(name) {
            self.places[at] = None;
            self.free.insert(at);
            self.pages[at / PAGE].revision += 1;
            self.host.revision += 1;
        }
    }

    fn place(&mut self, mut console: Console) {
        if let Some(at) = self.by_name.get(&console.name).copied() {
            let Some(before) = &mut self.places[at] else {
                return;
            };
            if (before.epoch, before.is_connected) == (console.epoch, console.is_connected) {
                console.since = before.since;
            }
            before.offset = console.offset;
            if *before != console {
                *before = console;
                self.pages[at / PAGE].revision += 1;
            }
            return;
        }
        let at = self.free.pop_first().unwrap_or(self.places.len());
        if at >= PAGES * PAGE {
            return;
        }
        if at == self.places.len() {
            self.places.push(None);
        }
        if at / PAGE >= self.pages.len() {
            self.pages.push(Paper::default());
        }
        self.by_name.insert(console.name.clone(), at);
        self.places[at] = Some(console);
        self.pages[at / PAGE].revision += 1;
        self.host.revision += 1;
    }

    /// Forgets pages at the end that are not in the bucket any more.
    fn drop_deleted(&mut self) {
        let count = self.count();
        while self.pages.len() > count && self.pages.last().is_some_and(Paper::is_done) {
            self.pages.pop();
        }
    }
}

impl Paper {
    fn is_done(&self) -> bool {
        !self.is_on_its_way && self.written == Some(self.revision)
    }

    fn is_due(&self) -> bool {
        !self.is_on_its_way && self.written != Some(self.revision)
    }
}
