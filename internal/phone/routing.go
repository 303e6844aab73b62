package phone

// Binding is where an event goes: the one routing decision.
type Binding struct {
	// Webhook is nil where the event is unrouted.
	Webhook *Webhook
	// Status is the state the delivery starts in.
	Status DeliveryStatus
	// Error explains a Status of Failed.
	Error string
}

// Route is the routing rule. An event goes to the agent's own webhook where it
// has one, otherwise to the project's default, otherwise nowhere. Whoever listens
// for the agent at the moment (`switchhook listen`) counts as its own webhook, in
// place of the one that is set. A disabled webhook still counts as configured: it
// keeps its events, as failed, and they never leak to the default. Each argument
// may be nil.
//
// It must be called on rows read in the transaction that binds the delivery.
func Route(listener, own, projectDefault *Webhook) Binding {
	w := listener
	if w == nil {
		w = own
	}
	if w == nil {
		w = projectDefault
	}
	switch {
	case w == nil:
		return Binding{Status: Unrouted}
	case w.Status == WebhookDisabled:
		return Binding{Webhook: w, Status: Failed, Error: ErrorWebhookDisabled}
	default:
		return Binding{Webhook: w, Status: Pending}
	}
}

// AfterWebhookDeleted decides about a pending delivery whose webhook was
// deleted. One that may have been sent ends here, since its receiver may have
// it; one that surely was not is bound anew.
func AfterWebhookDeleted(mayHaveBeenSent bool, listener, own, projectDefault *Webhook) Binding {
	if mayHaveBeenSent {
		return Binding{Status: Failed, Error: ErrorWebhookDeleted}
	}
	return Route(listener, own, projectDefault)
}
