//! All that the stream has, read in one pass and compared with what was printed.

use std::collections::HashMap;

use async_nats::jetstream::consumer::pull::OrderedConfig;
use chardev::Epoch;
use chardev_fleet::message::Message;
use chardev_fleet::reader::{Begin, Found, Reader};
use chardev_fleet::subject::{Name, Topic};
use chardev_load::lines::{Form, Lines};
use futures_util::StreamExt as _;

use super::Setup;
use crate::fleet::servers::Servers;

/// How much of each life of each console the stream has, all of it right.
pub(super) struct Account {
    consoles: HashMap<Name, Console>,
    messages: usize,
    bytes: u64,
}

struct Console {
    reader: Reader,
    lives: Vec<Life>,
}

struct Life {
    epoch: Epoch,
    lines: Lines,
    count: u64,
}

impl Account {
    pub(super) fn read(servers: &Servers, setup: &Setup) -> Account {
        let mut account = Account {
            consoles: HashMap::new(),
            messages: 0,
            bytes: 0,
        };
        crate::fleet::runtime().block_on(async {
            let client = async_nats::connect(servers.addresses("nats")).await;
            let context = async_nats::jetstream::new(client.unwrap());
            let stream = context.get_stream("OUT").await.unwrap();
            let last = stream.cached_info().state.last_sequence;
            let consumer = stream.create_consumer(OrderedConfig::default()).await;
            let mut messages = consumer.unwrap().messages().await.unwrap();
            let mut before = 0;
            loop {
                let message = messages.next().await.unwrap().unwrap();
                let number = message.info().unwrap().stream_sequence;
                assert_eq!(number, before + 1, "the stream has no such message");
                before = number;
                account.take(&message, setup);
                if number >= last {
                    break;
                }
            }
        });
        for (name, console) in &mut account.consoles {
            console.reader.flush();
            console.check(name, setup);
        }
        account
    }

    fn take(&mut self, message: &async_nats::Message, setup: &Setup) {
        let (name, topic) = Name::parse(&message.subject).unwrap();
        assert_eq!(topic, Topic::Out);
        self.messages += 1;
        self.bytes += message.payload.len() as u64;
        let header = |name: &str| Some(message.headers.as_ref()?.get(name)?.as_str());
        let said = Message::parse(header, message.payload.clone()).unwrap();
        let console = self
            .consoles
            .entry(name.clone())
            .or_insert_with(|| Console {
                reader: Reader::new(Begin::Beginning),
                lives: Vec::new(),
            });
        console.reader.push(said);
        console.check(&name, setup);
    }

    /// How much there was.
    pub(super) fn told(&self) -> String {
        let lives = self.consoles.values().flat_map(|it| &it.lives);
        let once: u64 = lives.map(|life| life.count).sum();
        format!(
            "all is read: {} messages, {} MiB, of which {} bytes were stored twice",
            self.messages,
            self.bytes >> 20,
            self.bytes - once
        )
    }

    /// How much of each of its lives the stream has.
    pub(super) fn lives(&mut self, host: &str, console: &str) -> Vec<u64> {
        let name = Name {
            cluster: "test".to_owned(),
            host: host.to_owned(),
            console: console.to_owned(),
        };
        let console = self.consoles.remove(&name);
        let lives = console.map_or(Vec::new(), |it| it.lives);
        lives.into_iter().map(|life| life.count).collect()
    }
}

impl Console {
    /// Compares what was found with what it has printed.
    fn check(&mut self, name: &Name, setup: &Setup) {
        while let Some(found) = self.reader.next_found() {
            let Found::Output {
                epoch,
                offset,
                bytes,
            } = found
            else {
                panic!("{name:?}: {found:?}");
            };
            let at = match self.lives.iter().position(|life| life.epoch == epoch) {
                Some(at) => at,
                None => {
                    let number = |text: &str, before| -> usize {
                        text.strip_prefix(before).unwrap().parse().unwrap()
                    };
                    let host = number(&name.host, "host.");
                    let console = number(&name.console, "con");
                    let begin = setup.begin(host, console, self.lives.len());
                    self.lives.push(Life {
                        epoch,
                        lines: Lines::from_offset(Form::Padded, begin),
                        count: 0,
                    });
                    self.lives.len() - 1
                }
            };
            let life = &mut self.lives[at];
            assert_eq!(offset, life.count, "{name:?}");
            let mut expected = vec![0; bytes.len()];
            life.lines.fill(&mut expected);
            assert!(expected == bytes, "{name:?}: other bytes at {offset}");
            life.count += bytes.len() as u64;
        }
    }
}
