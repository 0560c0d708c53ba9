/*
 * virtio_input_keys: from set 1 scancodes to the key codes of virtio-input
 * (Linux's input event codes).  Thread rule: [any], a constant table.
 */
#ifndef CORE_HW_VIRTIO_VIRTIO_INPUT_KEYS_H
#define CORE_HW_VIRTIO_VIRTIO_INPUT_KEYS_H

#include <stdint.h>

/* scancode as in console_key (bit 8 set: with the e0 prefix); 0 when there is
 * no such key. */
uint16_t virtio_input_key(uint16_t scancode);

#endif
