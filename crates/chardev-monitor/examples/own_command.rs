//! QMP client → socket → chardev → [front: monitor]: a program with a QMP socket, and commands of
//! its own beside ours.
//!
//! The program is a heater. Any number of clients may ask for its temperature, set it, wait for a
//! change, and use every chardev of the program; `quit` ends it.
//!
//!     cargo run -p chardev-monitor --example own_command -- /tmp/heater.sock

use std::error::Error;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};

use chardev::Chardevs;
use chardev::spec::{Expected, ParameterError};
use chardev_monitor::schema::{Type, required};
use chardev_monitor::{Clients, Object, OwnCommand, Server};

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: own_command SOCKET")?;
    let chardevs = Chardevs::new()?;
    let heater = Heater::default();
    let server = Server::builder(&chardevs)
        .name("heater")
        .package("own_command 1.0")
        .own_command(query(&heater))
        .own_command(set(&heater))
        .own_command(wait(&heater))
        .own_event("HEATER_CHANGE", [required("degrees", Type::Int)])
        .serve_unix(&path, Clients::Any)?;
    println!("serving QMP at {path}");
    chardevs.block_on(server.stop().requested());
    chardevs.block_on(server.finished());
    Ok(())
}

/// `query-heater`: `{"degrees": N}`
fn query(heater: &Heater) -> OwnCommand {
    let heater = heater.clone();
    let answer = move |_: &Object, _: &_| Ok(degrees(heater.degrees()).into());
    OwnCommand::new("query-heater", answer).returns(temperature())
}

/// `set-heater`: tells everybody with an event.
fn set(heater: &Heater) -> OwnCommand {
    let heater = heater.clone();
    OwnCommand::new("set-heater", move |arguments, caller| {
        let wanted = arguments.get("degrees").and_then(|wanted| wanted.as_i64());
        let wanted = wanted.filter(|wanted| (5..=90).contains(wanted));
        let range = Expected::Range(5, 90);
        let wanted = wanted.ok_or_else(|| ParameterError::expects("degrees", range))?;
        heater.set(wanted);
        let data = degrees(wanted).into();
        caller.events().emit("HEATER_CHANGE", Some(data));
        Ok(Object::new().into())
    })
    .takes([required("degrees", Type::Int)])
}

/// `wait-heater`: answers once the temperature is another one, whoever sets it.
fn wait(heater: &Heater) -> OwnCommand {
    let heater = heater.clone();
    OwnCommand::waiting("wait-heater", move |_, _| {
        let heater = heater.clone();
        async move { Ok(degrees(heater.change().await).into()) }
    })
    .returns(temperature())
}

fn degrees(degrees: i64) -> Object {
    Object::new().with("degrees", degrees)
}

fn temperature() -> Type {
    Type::object([required("degrees", Type::Int)])
}

/// The program's own part. Clones are the same heater.
#[derive(Clone, Default)]
struct Heater {
    state: Arc<Mutex<(i64, Vec<Waker>)>>,
}

impl Heater {
    fn degrees(&self) -> i64 {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    fn set(&self, degrees: i64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.0 = degrees;
        state.1.drain(..).for_each(Waker::wake);
    }

    async fn change(&self) -> i64 {
        let before = self.degrees();
        poll_fn(|cx| {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.0 != before {
                return Poll::Ready(state.0);
            }
            state.1.push(cx.waker().clone());
            Poll::Pending
        })
        .await
    }
}
