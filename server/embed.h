/* SPDX-License-Identifier: Apache-2.0 */
/* Files that the program holds in itself, made at build time by embed.py. */
#ifndef MICA_SERVER_EMBED_H
#define MICA_SERVER_EMBED_H

extern const unsigned char embed_openapi[];
extern const unsigned long embed_openapi_len;
/* Descriptors for reflection: serialized FileDescriptorSets. */
extern const unsigned char embed_istio[];
extern const unsigned long embed_istio_len;
extern const unsigned char embed_linkerd[];
extern const unsigned long embed_linkerd_len;
extern const unsigned char embed_ext_authz[];
extern const unsigned long embed_ext_authz_len;

#endif
