package main

import (
	"errors"
	"net/http"
	"slices"
)

// goods are what the shop sells.
var goods = []string{"Apples", "Bread", "Coffee"}

// maxItems is how many items a basket can hold. Your service should keep large baskets in
// a table of its own.
const maxItems = 12

var errFull = errors.New("the basket is full")

// shop is a page for everybody.
func (a *app) shop(w http.ResponseWriter, r *http.Request) error {
	return a.showShop(w, r, http.StatusOK, "")
}

func (a *app) showShop(w http.ResponseWriter, r *http.Request, status int, alert string) error {
	visitor, _, err := a.sessions.Visitor(r.Context()) // or a user
	if err != nil {
		return err
	}
	a.show(w, status, "shop.html", view{User: visitor, Alert: alert, Data: goods})
	return nil
}

// addToBasket starts a session for a visitor who has none.
func (a *app) addToBasket(w http.ResponseWriter, r *http.Request) error {
	item := r.PostFormValue("item")
	if !slices.Contains(goods, item) {
		return a.showShop(w, r, http.StatusBadRequest, "We do not sell that.")
	}
	err := a.sessions.Begin(w, r, func(visitor *user) error {
		if len(visitor.Basket) >= maxItems {
			return errFull
		}
		visitor.Basket = append(visitor.Basket, item)
		return nil
	})
	if errors.Is(err, errFull) {
		return a.showShop(w, r, http.StatusConflict, "The basket is full.")
	}
	return redirect(w, r, "/", err)
}

func (a *app) emptyBasket(w http.ResponseWriter, r *http.Request) error {
	err := a.sessions.Begin(w, r, func(visitor *user) error {
		visitor.Basket = nil
		return nil
	})
	return redirect(w, r, "/", err)
}

// carryBasket gives the visitor's basket to the user who logs in.
func carryBasket(visitor user, u *user) error {
	u.Basket = visitor.Basket
	return nil
}
