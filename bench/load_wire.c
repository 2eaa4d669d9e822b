/* load_wire.c - the two framings that subscribers read: WebSocket frames (RFC 6455) and HTTP chunks (RFC 9112). Pure. */
#include "load.h"

#include <ctype.h>
#include <string.h>

size_t frame_parse(const char *data, size_t length, struct frame *frame)
{
    const unsigned char *bytes = (const unsigned char *)data;
    size_t head = 2, payload;
    if (length < 2)
        return 0;
    payload = bytes[1] & 127;
    if (payload >= 126) {
        size_t digits = payload == 126 ? 2 : 8;
        head += digits;
        if (length < head)
            return 0;
        payload = 0;
        for (size_t i = 0; i < digits; i++)
            payload = payload << 8 | bytes[2 + i];
    }
    if (payload > MESSAGE_MAX)
        die("a WebSocket frame of %zu bytes", payload);
    if (length < head + payload)
        return 0;
    frame->opcode = bytes[0] & 15;
    frame->data = data + head;
    frame->length = payload;
    return head + payload;
}

size_t frame_build(char *into, int opcode, const char *payload, size_t length)
{
    /* Masked as RFC 6455 demands, by a key that is not zero, so that the server has to unmask. */
    static const char key[4] = {0x37, 0x7a, 0x21, 0x3d};
    into[0] = (char)(0x80 | opcode);
    into[1] = (char)(0x80 | length);
    memcpy(into + 2, key, 4);
    for (size_t i = 0; i < length; i++)
        into[6 + i] = (char)(payload[i] ^ key[i % 4]);
    return 6 + length;
}

/* Takes one byte of a chunk's size line. */
static void read_size_byte(struct chunk_decoder *decoder, char byte)
{
    if (byte == '\n')
        decoder->state = decoder->left ? CHUNK_DATA : CHUNK_END;
    else if (!isxdigit((unsigned char)byte))
        decoder->state = CHUNK_EXTENSION; /* the CR, or a real extension: on to the line's end */
    else
        decoder->left = decoder->left * 16 + (size_t)(isdigit((unsigned char)byte) ? byte - '0' : (byte | 32) - 'a' + 10);
}

/* The end of a line that isn't content: of a size with an extension or CR, or of the CR LF behind a chunk's data. */
static void end_line(struct chunk_decoder *decoder)
{
    bool data_follows = decoder->state == CHUNK_EXTENSION && decoder->left > 0;
    decoder->state = data_follows ? CHUNK_DATA : CHUNK_SIZE;
}

size_t unchunk(struct chunk_decoder *decoder, char *data, size_t length)
{
    size_t kept = 0, i = 0;
    while (i < length) {
        if (decoder->state == CHUNK_DATA) {
            size_t count = length - i < decoder->left ? length - i : decoder->left;
            memmove(data + kept, data + i, count);
            kept += count;
            i += count;
            decoder->left -= count;
            if (decoder->left == 0)
                decoder->state = CHUNK_END;
            continue;
        }
        char byte = data[i++];
        if (decoder->state == CHUNK_SIZE)
            read_size_byte(decoder, byte);
        else if (byte == '\n')
            end_line(decoder);
    }
    return kept;
}
