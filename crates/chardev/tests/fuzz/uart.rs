//! Replays the fuzz body of the serial port with seeded scripts.

#[path = "../../../../fuzz/bodies/uart_script.rs"]
mod body;

use crate::corpus;

#[test]
fn fuzz_uart_script_with_what_is_kept() {
    corpus::replay("uart_script", body::run);
}

#[test]
fn fuzz_uart_script() {
    let mut random = corpus::Random(0x16550a);
    for _ in 0..4_000 {
        let length = 2 * random.below(400);
        // Half of the scripts keep to the commonest steps, so that bytes flow for long.
        let common = random.below(2) == 0;
        let mut data: Vec<u8> = (0..length).map(|_| random.below(256) as u8).collect();
        if common {
            for step in data.chunks_exact_mut(2) {
                match step[0] {
                    0..=95 => step[0] = [0, 0, 0, 1, 2, 3][random.below(6)],
                    96..=191 => step[0] = 96 + [0, 0, 2, 5][random.below(4)],
                    _ => continue,
                }
                if step[0] == 3 {
                    step[1] &= 0x7f;
                }
            }
        }
        body::run(&data);
    }
}
