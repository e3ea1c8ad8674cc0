/* SPDX-License-Identifier: Apache-2.0 */
/* What the program holds in itself, made at build time. */
#ifndef MICA_AGENT_EMBED_H
#define MICA_AGENT_EMBED_H

/* A serialized FileDescriptorSet of agent/proto, for reflection. */
extern const unsigned char agent_descriptors[];
extern const unsigned long agent_descriptors_len;

#endif
