//! What a fleet is compared with: the same bytes published by the same client, and nothing else. No
//! headers, nothing kept, nothing sent again. Prints how many nanoseconds of CPU and of time that
//! took in all, and then waits until the stream has it.
//!
//! `plain SERVER STREAM REPLICAS SUBJECTS SIZE COUNT SPEED HOW` makes the stream if there is none,
//! and sends COUNT messages of SIZE bytes to its subjects `STREAM.0`, `STREAM.1` … in turn, SPEED
//! bytes a second. HOW is `bare` for messages without answers, or `answered`.

use std::collections::VecDeque;
use std::io::Write as _;
use std::time::{Duration, Instant};

use async_nats::jetstream;
use async_nats::jetstream::context::{Context, PublishAckFuture};
use async_nats::jetstream::message::PublishMessage;
use bytes::Bytes;
use rustix::time::{ClockId, clock_gettime};

/// Without answers, so many bytes are sent before one waits for the server.
const AHEAD: usize = 8 << 20;
/// So many messages may wait for an answer, as many as of eight consoles.
const WINDOW: usize = 128;
/// How often one looks whether it is time.
const TICK: Duration = Duration::from_millis(1);
/// How long the stream may take to have all of it, and how often it is asked.
const LIMIT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(100);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), async_nats::Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [server, name, replicas, subjects, size, count, speed, how] = &arguments[..] else {
        return Err("usage: plain SERVER STREAM REPLICAS SUBJECTS SIZE COUNT SPEED HOW".into());
    };
    let is_answered = match &how[..] {
        "bare" => false,
        "answered" => true,
        _ => return Err("how? bare or answered".into()),
    };
    let (subjects, size): (usize, usize) = (subjects.parse()?, size.parse()?);
    let (count, speed): (usize, f64) = (count.parse()?, speed.parse()?);
    let client = async_nats::connect(server).await?;
    let context = jetstream::new(client.clone());
    let config = jetstream::stream::Config {
        name: name.clone(),
        subjects: vec![format!("{name}.*")],
        num_replicas: replicas.parse()?,
        compression: Some(jetstream::stream::Compression::S2),
        ..Default::default()
    };
    let mut stream = context.get_or_create_stream(config).await?;
    let before = stream.info().await?.state.messages;
    let line = b"0123456789 what a console prints, more or less\n";
    let text: Vec<u8> = line.iter().copied().cycle().take(size).collect();
    let text = Bytes::from(text);

    let began = clock_gettime(ClockId::ProcessCPUTime);
    let start = Instant::now();
    let mut sender = Sender {
        context,
        ahead: 0,
        unanswered: VecDeque::new(),
    };
    for number in 0..count {
        while (number * size) as f64 > speed * start.elapsed().as_secs_f64() {
            tokio::time::sleep(TICK).await;
        }
        let subject = format!("{name}.{}", number % subjects);
        match is_answered {
            true => sender.send_answered(subject, text.clone()).await?,
            false => sender.send(subject, text.clone()).await?,
        }
    }
    client.flush().await?;
    sender.finish().await?;
    let took = start.elapsed().as_nanos();
    let ended = clock_gettime(ClockId::ProcessCPUTime);
    let nanos = (ended.tv_sec - began.tv_sec) * 1_000_000_000 + ended.tv_nsec - began.tv_nsec;
    writeln!(std::io::stdout(), "{nanos} {took}")?;
    // Without answers a message may be lost, and then the stream never has all of them.
    let (wanted, limit) = (before + count as u64, Instant::now() + LIMIT);
    loop {
        let there = stream.info().await?.state.messages;
        if there >= wanted {
            return Ok(());
        }
        if Instant::now() >= limit {
            let seconds = LIMIT.as_secs();
            let missing = wanted - there;
            return Err(format!(
                "{missing} of {count} messages are not in '{name}' after {seconds} s"
            )
            .into());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// How messages are on their way.
struct Sender {
    context: Context,
    ahead: usize,
    /// The oldest first.
    unanswered: VecDeque<PublishAckFuture>,
}

impl Sender {
    async fn send(&mut self, subject: String, text: Bytes) -> Result<(), async_nats::Error> {
        let client = self.context.client();
        self.ahead += text.len();
        client.publish(subject, text).await?;
        if self.ahead >= AHEAD {
            client.flush().await?;
            self.ahead = 0;
        }
        Ok(())
    }

    async fn send_answered(
        &mut self,
        subject: String,
        text: Bytes,
    ) -> Result<(), async_nats::Error> {
        if self.unanswered.len() >= WINDOW {
            if let Some(oldest) = self.unanswered.pop_front() {
                oldest.await?;
            }
        }
        let publish = PublishMessage::build().payload(text);
        let answer = self.context.send_publish(subject, publish).await?;
        self.unanswered.push_back(answer);
        Ok(())
    }

    async fn finish(&mut self) -> Result<(), async_nats::Error> {
        for answer in self.unanswered.drain(..) {
            answer.await?;
        }
        Ok(())
    }
}
