/* SPDX-License-Identifier: Apache-2.0 */
/* Istio: the documents themselves, in one form and order. Nothing is ever lost. */
#include "target_impl.h"

static bool is_wanted(const struct target_run *t, const struct mica_policy *p)
{
	return !t->o->workload || mica_policy_selects(t->set, p, t->o->workload);
}

void target_istio(struct target_run *t)
{
	const bool json = t->o->form == MICA_FORM_JSON;
	unsigned n = 0;
	if (json)
		mica_buf_put_str(t->b, "{\"apiVersion\":\"v1\",\"kind\":\"List\",\"items\":[");
	for (size_t i = 0; i < mica_policy_set_count(t->set); i++) {
		const struct mica_policy *p = mica_policy_set_at(t->set, i);
		if (!is_wanted(t, p))
			continue;
		if (n++ > 0)
			mica_buf_put_str(t->b, json ? "," : "---\n");
		(json ? mica_policy_put_json : mica_policy_put_yaml)(t->b, p);
		t->report->policies++;
		t->report->rules += p->n_rules;
	}
	if (json)
		mica_buf_put_str(t->b, "]}\n");
}
