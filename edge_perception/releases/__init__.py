"""How a model gets in and changes: signed, stored, admitted, tried, swapped."""
