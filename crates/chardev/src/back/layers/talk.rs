//! Two stacks of layers that talk to each other without a wire, for tests.

use chardev_core::Stack;

/// What the stack sends now.
pub(super) fn wire(stack: &mut Stack) -> Vec<u8> {
    let all: Vec<u8> = stack.wire().iter().flat_map(|part| part.to_vec()).collect();
    stack.sent(all.len());
    all
}

/// Lets both talk, byte by byte, until neither has anything to say; how many bytes they have said.
pub(super) fn settle(one: &mut Stack, other: &mut Stack, limit: usize) -> usize {
    let mut said = 0;
    while one.has_wire() || other.has_wire() {
        for byte in wire(one) {
            other.receive(&[byte]);
            said += 1;
        }
        for byte in wire(other) {
            one.receive(&[byte]);
            said += 1;
        }
        assert!(said < limit, "they keep each other talking");
    }
    said
}
