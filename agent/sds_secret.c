/* SPDX-License-Identifier: Apache-2.0 */
#include "sds_secret.h"

#include "wire.h"

#include "mica/pem.h"

#define SECRET_MAX ((size_t)4 << 20)
#define SPIFFE_CONFIG                                                                              \
	"type.googleapis.com/"                                                                     \
	"envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig"
#define SPIFFE_VALIDATOR "envoy.tls.cert_validator.spiffe"

/* ---- names --------------------------------------------------------------------------------- */

static struct mica_slice mapped(const struct agent_config *c, struct mica_slice name)
{
	for (unsigned i = 0; i < c->sds.n_names; i++)
		if (mica_slice_eq_str(name, c->sds.names[i].name))
			return mica_slice_str(c->sds.names[i].is);
	return name;
}

static struct sds_meaning certificate(const struct agent_config *c, const struct keep_view *v,
	uint32_t mask, const struct mica_slice *id)
{
	for (unsigned i = 0; i < c->n_identities; i++) {
		if (!(mask >> i & 1))
			continue;
		/* the default is the first of the configuration, also while it has none */
		if (id == NULL ? true : v->svid[i] && mica_slice_eq_str(*id, v->svid[i]->id))
			return (struct sds_meaning){
				.kind = v->svid[i] ? SDS_CERTIFICATE : SDS_NONE, .identity = i};
	}
	return (struct sds_meaning){.kind = SDS_NONE};
}

struct sds_meaning sds_resolve(const struct agent_config *c, const struct keep_view *v,
	uint32_t mask, struct mica_slice name)
{
	const struct mica_slice what = mapped(c, name);

	if (mica_slice_eq_str(what, c->sds.default_svid))
		return certificate(c, v, mask, NULL);
	if (!v->trust)
		return (struct sds_meaning){.kind = SDS_NONE};
	if (mica_slice_eq_str(what, c->sds.all_bundles))
		return (struct sds_meaning){.kind = SDS_ALL_BUNDLES};
	if (mica_slice_eq_str(what, c->sds.default_bundle) || mica_slice_eq_str(what, v->trust->id))
		return (struct sds_meaning){.kind = SDS_BUNDLE};
	return certificate(c, v, mask, &what);
}

void sds_each_name(const struct keep_view *v, unsigned n_identities, uint32_t mask,
	void (*each)(void *ctx, const char *name), void *ctx)
{
	for (unsigned i = 0; i < n_identities; i++)
		if ((mask >> i & 1) && v->svid[i])
			each(ctx, v->svid[i]->id);
	if (v->trust)
		each(ctx, v->trust->id);
}

/* ---- secrets ------------------------------------------------------------------------------- */

/* DataSource {inline_bytes = 2} as field `number`. */
static void put_inline(struct mica_buf *out, uint32_t number, struct mica_slice bytes)
{
	mica_wire_put_head(out, number, mica_wire_bytes_size(2, bytes.len));
	mica_wire_put_bytes(out, 2, bytes);
}

/* TlsCertificate {certificate_chain = 1, private_key = 2} */
static void put_certificate(const struct svid *s, struct mica_buf *out)
{
	MICA_AUTO_BUF key;
	MICA_AUTO_BUF b;

	mica_buf_init_secret(&key, SECRET_MAX);
	mica_buf_init_secret(&b, SECRET_MAX);
	svid_put_key_pem(s, &key);
	put_inline(&b, 1, mica_buf_slice(&s->pem));
	put_inline(&b, 2, mica_buf_slice(&key));
	mica_wire_put_bytes(out, 2, mica_buf_slice(&b));
}

/* CertificateValidationContext {trusted_ca = 1} */
static void put_plain(const struct trust *t, struct mica_buf *out)
{
	put_inline(out, 1, mica_buf_slice(&t->pem));
}

/* SPIFFECertValidatorConfig {trust_domains = 1 TrustDomain {name = 1, trust_bundle = 2}} */
static void put_trust_domain(const struct trust *t, struct mica_buf *out)
{
	MICA_AUTO_BUF b;

	mica_buf_init(&b, SECRET_MAX);
	wire_put_text(&b, 1, t->td);
	put_inline(&b, 2, mica_buf_slice(&t->pem));
	mica_wire_put_bytes(out, 1, mica_buf_slice(&b));
}

/* CertificateValidationContext {custom_validator_config = 12 TypedExtensionConfig {name = 1,
 * typed_config = 2 Any {type_url = 1, value = 2}}} */
static void put_spiffe(const struct trust *t, struct mica_buf *out)
{
	MICA_AUTO_BUF config;
	MICA_AUTO_BUF any;
	MICA_AUTO_BUF extension;

	mica_buf_init(&config, SECRET_MAX);
	mica_buf_init(&any, SECRET_MAX);
	mica_buf_init(&extension, SECRET_MAX);
	put_trust_domain(t, &config);
	wire_put_text(&any, 1, SPIFFE_CONFIG);
	mica_wire_put_bytes(&any, 2, mica_buf_slice(&config));
	wire_put_text(&extension, 1, SPIFFE_VALIDATOR);
	mica_wire_put_bytes(&extension, 2, mica_buf_slice(&any));
	mica_wire_put_bytes(out, 12, mica_buf_slice(&extension));
}

/* Secret {name = 1, tls_certificate = 2, validation_context = 4} */
void sds_put_secret(const struct sds_meaning *m, const struct keep_view *v, struct mica_slice name,
	enum agent_validator validator, struct mica_buf *out)
{
	MICA_AUTO_BUF context;

	mica_buf_init(&context, SECRET_MAX);
	mica_wire_put_bytes(out, 1, name);
	if (m->kind == SDS_CERTIFICATE) {
		put_certificate(v->svid[m->identity], out);
		return;
	}
	if (validator == AGENT_SPIFFE)
		put_spiffe(v->trust, &context);
	else
		put_plain(v->trust, &context);
	mica_wire_put_bytes(out, 4, mica_buf_slice(&context));
}
